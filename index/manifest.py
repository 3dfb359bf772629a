"""`manifest.json`: which files a snapshot has, how long each is and what its SHA-256 is.

It is written last, so a directory without one is no snapshot. It carries a digest of itself: every
flipped bit of a snapshot contradicts something.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from lsr import __version__
from lsr.errors import IndexCorrupt, IndexNotFound, IndexVersion

FILE_NAME = "manifest.json"
FORMAT = 2
"""1 did not say when its commit was made."""
MAX_BYTES = 1 << 24
"""A manifest has 120 bytes a file; an index has hundreds of files at most."""

_NAME = re.compile(
    r"catalog\.sqlite|segments/[0-9a-f]{16}\.seg|encoder(?:/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){1,4}"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a snapshot by its path in it, with `/` between the parts."""

    path: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot says of itself.

    `created` is in seconds since the epoch, and so is `committed`, when the commit was made that it
    holds, None for an index without any; `encoder` the card of the index's encoder, None where
    it was built from vectors; `settings` what a server keeps of the index beside it; `lsr` the
    release that wrote it.
    """

    name: str
    created: float
    generation: int
    n_docs: int
    encoder: Mapping[str, Any] | None
    files: tuple[File, ...]
    committed: float | None = None
    settings: Mapping[str, Any] | None = None
    lsr: str = __version__

    @property
    def n_bytes(self) -> int:
        """Of all files but the manifest."""
        return sum(file.n_bytes for file in self.files)

    def is_of(self, other: "Manifest") -> bool:
        """Whether both hold the same commit of the same index: of one that was deleted and made
        anew under its name commits have the same numbers, but not the same moments.
        """
        return (self.name, self.generation, self.committed) == (
            other.name,
            other.generation,
            other.committed,
        ) and (self.committed is not None or self.encoder == other.encoder)

    def to_bytes(self) -> bytes:
        """As it is stored."""
        told = {"format": FORMAT, **asdict(self)}
        return orjson.dumps({**told, "digest": _digest(told)}, option=orjson.OPT_INDENT_2) + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes, *, where: Path | str) -> "Manifest":
        """Read and check. Raises `IndexVersion` or `IndexCorrupt`, the latter also for a name that
        no file of a snapshot has: a manifest from elsewhere may try to reach out of its directory.
        """

        def corrupt(what: str) -> IndexCorrupt:
            return IndexCorrupt(f"{where}: {what}. Take another copy of the snapshot.")

        try:
            told = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise corrupt(f"{FILE_NAME} is no JSON ({error})") from error
        if not isinstance(told, dict):
            raise corrupt(f"{FILE_NAME} is no JSON object")
        digest = told.pop("digest", None)
        version = told.pop("format", None)
        if isinstance(version, int) and version > FORMAT:
            raise IndexVersion(
                f"{where}: a snapshot of format {version}, this release reads {FORMAT}; restore it "
                "with the release that wrote it"
            )
        if version not in (1, FORMAT) or digest != _digest({"format": version, **told}):
            raise corrupt(f"{FILE_NAME} does not match its own digest")
        try:
            files = tuple(File(**one) for one in told.pop("files"))
            manifest = cls(**told, files=files)
        except (TypeError, KeyError) as error:
            raise corrupt(f"{FILE_NAME} is incomplete ({error})") from error
        seen: set[str] = set()
        for file in files:
            if not isinstance(file.path, str) or not _NAME.fullmatch(file.path):
                raise corrupt(f"{FILE_NAME} names {file.path!r}, which is no file of an index")
            if file.path in seen:
                raise corrupt(f"{FILE_NAME} names {file.path} twice")
            if type(file.n_bytes) is not int or file.n_bytes < 0:
                raise corrupt(f"{FILE_NAME}: {file.path} has {file.n_bytes!r} bytes")
            if not isinstance(file.sha256, str) or not _DIGEST.fullmatch(file.sha256):
                raise corrupt(f"{FILE_NAME}: {file.path} has no SHA-256")
            seen.add(file.path)
        if "catalog.sqlite" not in seen:
            raise corrupt(f"{FILE_NAME} names no catalog.sqlite")
        return manifest

    def write(self, folder: Path) -> None:
        """Store it durably in a directory whose files are complete."""
        descriptor = os.open(folder / FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.to_bytes())
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of a snapshot. Raises `IndexNotFound` where there is none."""
        path = folder / FILE_NAME
        if not path.is_file() or path.is_symlink():
            raise IndexNotFound(f"{folder}: no snapshot here ({FILE_NAME} is missing)")
        try:
            if path.stat().st_size > MAX_BYTES:
                raise IndexCorrupt(f"{path}: larger than {MAX_BYTES:,} bytes; no manifest is")
            raw = path.read_bytes()
        except FileNotFoundError as error:
            raise IndexNotFound(f"{folder}: deleted while it was read") from error
        return cls.from_bytes(raw, where=folder)


def is_snapshot(folder: Path) -> bool:
    """Whether a directory is a snapshot, which nothing may change."""
    return (folder / FILE_NAME).is_file()


def fits(path: str) -> bool:
    """Whether a file of this path can be in a snapshot.

    >>> fits("segments/0123456789abcdef.seg"), fits("encoder/../../etc/passwd"), fits("/catalog")
    (True, False, False)
    """
    return bool(_NAME.fullmatch(path))


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()
