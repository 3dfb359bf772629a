"""What a server needs to know before it starts; everything else is in the indexes themselves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lsr.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
NAME_WANTED = "1 to 63 lower-case letters, digits, '-' or '_', beginning with a letter or digit"
MIB = 1 << 20


def is_name(text: str) -> bool:
    """Whether an index, an alias or a snapshot may be called so.

    >>> is_name("papers-2"), is_name("../etc"), is_name("Papers")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


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


@dataclass(frozen=True)
class Settings:
    """Which indexes to serve, under which names, within which bounds.

    `encoders` names another encoder folder for some of the indexes; by default each is searched
    with the encoder it was built by. `home` is the data directory (service/home/): without one
    nothing can be written. `log_queries` is the share of searches whose text the access log holds.
    Tasks of the data directory are run by a process of their own, or with `work_inside` by a
    thread of this one. `max_documents_bytes` and `max_line_bytes` bound bodies of documents, after
    decompression, all other bodies `max_body_bytes`.

    >>> Settings({"papers": Path("papers.index")}).max_body_bytes
    1048576
    """

    indexes: Mapping[str, Path]
    encoders: Mapping[str, Path] = field(default_factory=dict)
    home: Path | None = None
    max_body_bytes: int = MIB
    max_documents_bytes: int = 4096 * MIB
    max_line_bytes: int = 8 * MIB
    access_log: bool = False
    log_queries: float = 0.0
    watermarks: Watermarks = Watermarks()
    work_inside: bool = False
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
        if self.max_body_bytes < 1:
            raise UsageError(f"max_body_bytes = {self.max_body_bytes}: wanted at least 1")
        if not 0.0 <= self.log_queries <= 1.0:
            raise UsageError(f"log_queries = {self.log_queries}: wanted a share, 0 to 1")
