"""A folder of Markdown and plain text files, a document a file, as notes and manuals lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import DatasetError
from ..types import Document, Qrels, Query
from .dataset import fingerprint_files

SUFFIXES = (".md", ".markdown", ".rst", ".txt")
_NO_CORPUS = (
    "modules.json", "config.json", "catalog.sqlite", "shards.json", "service.sqlite", "qrels",
    "queries.jsonl",
)  # fmt: skip
"""What a model, an index, a data directory or half a BEIR folder has, beside text about it."""
_DATA = (".jsonl", ".ndjson", ".tsv", ".csv", ".parquet", ".arrow", ".gz", ".zst", ".zip")
"""Beside such files a README is about the collection and not the collection."""


@dataclass(frozen=True)
class TextFolder:
    """The files below a folder; hidden ones and those in hidden folders are left out.

    A document's id is its path from the folder on, its `title` the first heading of a Markdown file
    (`# Title`), else the file's name, its `text` all of the file. Files are UTF-8.
    """

    path: Path

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether the folder holds such a file, and is nothing else of ours."""
        if not path.is_dir() or any((path / name).exists() for name in _NO_CORPUS):
            return False
        if any(near.suffix in _DATA for depth in ("*", "*/*") for near in path.glob(depth)):
            return False
        return next(_files(path), None) is not None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when a file changes, comes or goes."""
        return fingerprint_files(_files(self.path), root=self.path)

    def documents(self) -> Iterator[Document]:
        """Stream the files in the order of their paths; an empty one has an empty text."""
        for file in sorted(_files(self.path)):
            text = _text(file)
            title = file.stem
            if file.suffix in (".md", ".markdown"):
                headings = (line[2:].strip() for line in text.splitlines() if line.startswith("# "))
                title = next(filter(None, headings), title)
            yield Document(file.relative_to(self.path).as_posix(), {"title": title, "text": text})

    def splits(self) -> list[str]:
        """None: there are no judgements."""
        return []

    def queries(self, split: str = "test") -> list[Query]:
        """Always a `DatasetError`: there are no queries."""
        raise self._no_judgements()

    def qrels(self, split: str = "test") -> Qrels:
        """Always a `DatasetError`: there are no judgements."""
        raise self._no_judgements()

    def _no_judgements(self) -> DatasetError:
        return DatasetError(
            f"{self.path}: a folder of text files has no queries or judgements; wanted a folder "
            "with corpus.jsonl, queries.jsonl and qrels/test.tsv"
        )


def _files(path: Path) -> Iterator[Path]:
    for file in path.rglob("*"):
        parts = file.relative_to(path).parts
        hidden = any(part.startswith(".") for part in parts)
        if file.suffix in SUFFIXES and not hidden and file.is_file():
            yield file


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{file}: byte 0x{error.object[error.start]:02x} at offset {error.start} is not UTF-8; "
            "convert the file or take it out of the folder"
        ) from error
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror or error})") from error
