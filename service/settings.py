"""What a server needs to know before it starts; everything else is in the indexes themselves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lsr.errors import UsageError

from .duties import Duties
from .limits import MIB, Limits
from .names import NAME_WANTED, is_name

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Where ingestion stops: `min_free` bytes or that share of the disk, whichever is less, and
    `max_log` bytes of acknowledged lines that wait.

    >>> Watermarks().wanted(disk=2 * 10**9), Watermarks().wanted(disk=10**12) // MIB
    (100000000, 512)
    """

    min_free: int = 512 * MIB
    min_free_share: float = 0.05
    max_log: int = 1024 * MIB

    def wanted(self, disk: int) -> int:
        """Bytes that must stay free on a disk of this size."""
        return min(self.min_free, int(self.min_free_share * disk))


@dataclass(frozen=True, slots=True)
class OnRay:
    """How the shards of sets are served by Ray (ray_shards.py).

    Each shard has `min_replicas`, and up to `max_replicas` while more than `target_ongoing`
    questions wait for each. A replica reserves `replica_cpus` cores; by default, 0, all replicas
    together the cores that there are, and none more than one.
    """

    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing: float = 2.0
    replica_cpus: float = 0.0
    shard_timeout_s: float = 10.0

    @property
    def hedges(self) -> bool:
        """Whether there may be a second replica to ask."""
        return self.max_replicas > 1


@dataclass(frozen=True)
class Settings:
    """Which indexes to serve, under which names, within which bounds.

    `encoders` names another encoder folder for some of the indexes; by default each is searched
    with the encoder it was built by. `home` is the data directory (service/home/): without one
    nothing can be written, with one the documents of `indexes` can be too unless `read_only`.
    `log_queries` is the share of searches whose text the access log holds.
    Judged queries of an index are asked every `canary_minutes`, 0 for never; cursors live for
    `cursor_minutes`.
    Tasks of the data directory are run by a process of their own, or with `work_inside` by a
    thread of this one. Pages of the `origins` may call the API from a browser, and no others;
    `host_names` are the only ones that the server answers to, None answers to any.

    >>> Settings({"papers": Path("papers.index")}).limits.body_bytes
    1048576
    """

    indexes: Mapping[str, Path]
    encoders: Mapping[str, Path] = field(default_factory=dict)
    home: Path | None = None
    read_only: bool = False
    limits: Limits = field(default_factory=Limits)
    origins: tuple[str, ...] = ()
    host_names: tuple[str, ...] | None = None
    access_log: bool = False
    log_queries: float = 0.0
    canary_minutes: float = 15.0
    cursor_minutes: float = 10.0
    watermarks: Watermarks = Watermarks()
    work_inside: bool = False
    ray: OnRay | None = None
    """Sets of shards are served by a Ray cluster that this process is connected to; None opens them
    in this process."""
    embed_index: str | None = None
    """Whose encoder answers /embed_sparse; None for that of the only index with an encoder."""
    secret: bytes | None = field(default=None, repr=False)
    """Signs cursors; None draws one, so that cursors end with the process."""

    def __post_init__(self) -> None:
        for name in self.indexes:
            if not is_name(name):
                raise UsageError(
                    f"index name {name!r}: wanted {NAME_WANTED}, because it becomes part of every "
                    "address; serve the index under another name"
                )
        for name in self.encoders:
            if name not in self.indexes:
                raise UsageError(
                    f"an encoder is named for the index {name!r}, which is not served "
                    f"(served: {', '.join(self.indexes) or 'none'})"
                )
        # A data directory may get it later, over HTTP; nothing else can.
        lacks = self.embed_index is not None and self.embed_index not in self.indexes
        if lacks and self.home is None:
            raise UsageError(
                f"--embed {self.embed_index}: wanted the name of an index that is served, one of "
                f"{', '.join(self.indexes) or 'none'}"
            )
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise UsageError(
                    f"origin {origin!r}: wanted scheme, host and port alone, such as "
                    "https://app.example.org"
                )
        if not 0.0 <= self.log_queries <= 1.0:
            raise UsageError(f"log_queries = {self.log_queries}: wanted a share, 0 to 1")

    def duties(self) -> Duties:
        """What the worker of the data directory is told."""
        return Duties(
            self.indexes, self.encoders, 60 * self.canary_minutes, 60 * self.cursor_minutes
        )
