"""What a collection promises, and the plainest one: a single corpus file."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ..errors import DatasetError
from ..types import Document, Qrels, Query
from .records import read_documents

_WHOLE_FILE = 1 << 26  # up to here every byte is hashed, some 60 ms
_WINDOW = 1 << 16
_N_WINDOWS = 64


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


@dataclass(frozen=True)
class CorpusFile:
    """One .jsonl or .tsv file: documents without queries."""

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

    def splits(self) -> list[str]:
        """None: a single file holds no judgements."""
        return []

    def queries(self, split: str = "test") -> list[Query]:
        """Always a `DatasetError`: a single file holds no queries."""
        raise self._no_judgements()

    def qrels(self, split: str = "test") -> Qrels:
        """Always a `DatasetError`: a single file holds no judgements."""
        raise self._no_judgements()

    def _no_judgements(self) -> DatasetError:
        return DatasetError(
            f"{self.path}: a single corpus file has no queries or judgements; wanted a folder with "
            "corpus.jsonl, queries.jsonl and qrels/test.tsv"
        )


def fingerprint_files(paths: Iterable[Path], *, root: Path) -> str:
    """16 hex digits over names, sizes and contents, the same wherever the files lie.

    A file above 64 MiB is sampled at 64 evenly spaced windows that include both ends.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        try:
            size = path.stat().st_size
            digest.update(f"{path.relative_to(root).as_posix()}\0{size}\0".encode())
            with path.open("rb") as file:
                if size <= _WHOLE_FILE:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
                else:
                    for i in range(_N_WINDOWS):
                        file.seek((size - _WINDOW) * i // (_N_WINDOWS - 1))
                        digest.update(file.read(_WINDOW))
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:16]
