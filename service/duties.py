"""What a worker is told when it starts: where things are, and how often it does what."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Duties:
    """`mounts` are indexes outside the data directory, `encoders` the folders of some indexes.

    Judged queries are asked every `canary_s` seconds, 0 for never (worker/canary.py). So long as
    `cursor_s` seconds after a page its cursor leads to the next one, whatever is written meanwhile;
    deleted documents leave the disk at the first merge after that, which the worker makes within a
    minute where most rows are theirs.

    >>> Duties.read(Duties({"papers": Path("a")}).written()) == Duties({"papers": Path("a")})
    True
    """

    mounts: Mapping[str, Path] = field(default_factory=dict)
    encoders: Mapping[str, Path] = field(default_factory=dict)
    canary_s: float = 900.0
    cursor_s: float = 600.0

    def written(self) -> str:
        """For the command line of a process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def read(cls, text: str) -> "Duties":
        """What `written` wrote."""
        told = json.loads(text)
        for name in ("mounts", "encoders"):
            told[name] = {key: Path(value) for key, value in told[name].items()}
        return cls(**told)
