"""What a collection promises, and the plainest one: a single corpus file."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import orjson

from ..errors import DatasetError, DiskFull
from ..files import atomic_write
from ..types import Document, Qrels, Query
from .records import read_documents

_SMALL = 1 << 26  # up to here a file is hashed each time, some 60 ms


class Dataset(Protocol):
    """Documents, and per split the judged queries with their judgements."""

    @property
    def name(self) -> str:
        """The name it was asked for by."""
        ...

    @property
    def path(self) -> Path | None:
        """Where it lies on this disk, if it does."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when its files change."""
        ...

    def documents(self) -> Iterator[Document]:
        """Stream the corpus from its start."""
        ...

    def splits(self) -> list[str]:
        """The splits that have judgements."""
        ...

    def queries(self, split: str = "test") -> list[Query]:
        """The queries judged in this split, in the order of their file."""
        ...

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements of this split."""
        ...


class Unjudged(ABC):
    """The queries and judgements of a `Dataset` that has none."""

    def splits(self) -> list[str]:
        """None: there are no judgements."""
        return []

    def queries(self, split: str = "test") -> list[Query]:
        """Always a `DatasetError`: there are no queries."""
        raise self._no_judgements()

    def qrels(self, split: str = "test") -> Qrels:
        """Always a `DatasetError`: there are no judgements."""
        raise self._no_judgements()

    @abstractmethod
    def _no_judgements(self) -> DatasetError:
        """The error that says what has none, and what would have some."""


@dataclass(frozen=True)
class CorpusFile(Unjudged):
    """One .jsonl, .tsv, .csv or .parquet file: documents without queries."""

    path: Path

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when the file changes."""
        return fingerprint_files([self.path], root=self.path.parent)

    def documents(self) -> Iterator[Document]:
        """Stream the corpus."""
        return read_documents(self.path)

    def _no_judgements(self) -> DatasetError:
        return DatasetError(
            f"{self.path}: a single corpus file has no queries or judgements; wanted a folder with "
            "corpus.jsonl, queries.jsonl and qrels/test.tsv"
        )


def fingerprint_files(paths: Iterable[Path], *, root: Path) -> str:
    """16 hex digits over names, sizes and contents, the same wherever the files lie.

    What a large file holds is kept in the cache until its size or times change: a second a GB.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        try:
            size = path.stat().st_size
            digest.update(f"{path.relative_to(root).as_posix()}\0{size}\0".encode())
            digest.update(_sha256(path) if size <= _SMALL else _kept_sha256(path))
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:16]


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _kept_sha256(path: Path) -> bytes:
    """The SHA-256 of a large file, from the cache where the file is what it was then."""
    from .names import cache_folder  # which knows every kind of data set, this one among them

    path = path.resolve()
    status = path.stat()
    is_now = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    kept = cache_folder() / "fingerprints" / f"{name}.json"
    with suppress(OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        known = orjson.loads(kept.read_bytes())
        if known["status"] == is_now:
            return bytes.fromhex(known["sha256"])
    found = _sha256(path)
    with suppress(OSError, DiskFull), atomic_write(kept) as file:  # it is only slower without
        file.write(orjson.dumps({"path": str(path), "status": is_now, "sha256": found.hex()}))
    return found
