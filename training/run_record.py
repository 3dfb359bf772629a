"""The file `run.json` of a run folder: whose run it is, and how long it has been at work."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lsr.encoders.folder import read_object, write_json
from lsr.errors import RecipeError

from .data import Pairs, Source
from .recipe import Recipe


class RunRecord:
    """Knows its recipe and data by their fingerprints; time runs from `open`.

    Where several processes are at work on one run, only one of them `writes`.
    """

    def __init__(self, path: Path, content: dict[str, Any], *, writes: bool = True) -> None:
        self._path = path
        self._writes = writes
        self._content = content
        self._before = float(content["seconds"])
        self._opened = time.monotonic()
        self._counted = False
        self._timed: tuple[str, float, float] | None = None
        """The stage at work, when this call began it, and its seconds before."""

    @classmethod
    def open(
        cls, folder: Path, recipe: Recipe, pairs: Pairs, *, writes: bool = True
    ) -> "RunRecord":
        """Make the run folder, or check that it is one of this recipe and data."""
        path = folder / "run.json"
        identity = {
            "recipe": recipe.fingerprint(),
            "data": _fingerprints(pairs.sources),
        }
        if path.is_file():
            found = read_object(path)
            changed = [key for key in identity if found.get(key) != identity[key]]
            if changed:
                raise RecipeError(
                    f"{folder} holds an unfinished run whose {' and '.join(changed)} is not that "
                    f"of {recipe.path}; finish it as it was, or start over (--fresh)."
                )
            return cls(path, found, writes=writes)
        folder.mkdir(parents=True, exist_ok=True)
        record = cls(path, {**identity, "seconds": 0.0}, writes=writes)
        record.save()
        return record

    @property
    def seconds(self) -> float:
        """How long all calls together have been at work."""
        return self._before + time.monotonic() - self._opened

    @property
    def stage_seconds(self) -> dict[str, float]:
        """The same for each stage, in the order they ran."""
        return dict(self._content.get("stages", {}))

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Count the time of the block as that of a stage."""
        self._timed = (stage, time.monotonic(), self.stage_seconds.get(stage, 0.0))
        try:
            yield
        finally:
            self.save()
            self._timed = None

    @property
    def stage_tokens(self) -> dict[str, int]:
        """How many tokens of texts each stage that takes steps has read, in the order they ran."""
        return dict(self._content.get("tokens", {}))

    def has_read(self, stage: str, tokens: int) -> None:
        """Put down how many tokens a stage has read so far, all calls together."""
        self._content["tokens"] = {**self.stage_tokens, stage: tokens}
        self.save()

    @property
    def resumes(self) -> dict[str, int]:
        """How many calls went on from a full state ("exact"), or from "weights" alone."""
        return {"exact": 0, "weights": 0, **self._content.get("resumes", {})}

    def resumed(self, *, exact: bool) -> None:
        """Count that this call goes on from what an earlier one saved; only the first time."""
        if not self._counted:
            self._counted = True
            kind = "exact" if exact else "weights"
            self._content["resumes"] = {**self.resumes, kind: self.resumes[kind] + 1}
            self.save()

    def save(self) -> float:
        """Write how long all calls together have been at work, in seconds, and return it."""
        seconds = self.seconds
        if self._timed is not None:  # so far: whoever is killed has it put down with a checkpoint
            stage, began, before = self._timed
            spent = before + time.monotonic() - began
            self._content["stages"] = {**self.stage_seconds, stage: spent}
        if self._writes:
            write_json(self._path, {**self._content, "seconds": seconds})
        return seconds


def _fingerprints(sources: Sequence[Source]) -> dict[str, str]:
    """By name, in the order of the recipe; names may be equal, as of files in two folders."""
    found: dict[str, str] = {}
    for source in sources:
        prints = filter(None, (found.get(source.name), source.fingerprint, source.negatives))
        found[source.name] = " ".join(prints)
    return found
