"""A corpus in several files of one kind, as the hub and data pipelines cut them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import DatasetError
from ..parquet import SUFFIX as PARQUET_SUFFIX
from ..types import Document
from .dataset import Unjudged, fingerprint_files
from .folders import DATA, is_ours, walk
from .records import COMPRESSED, CSV_SUFFIX, read_documents
from .texts import SUFFIXES

KINDS = (".jsonl", ".ndjson", CSV_SUFFIX, PARQUET_SUFFIX)
_PART = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]+)-of-(?P<count>[0-9]+)")
_ABOUT = ("readme", "license", "licence", "changelog", "citation", "notice")
"""Texts that lie beside data and speak of them."""
_JUDGED = ("queries", "query", "qrels", "topics", "judgements", "judgments")
"""What files are called that hold no documents."""


@dataclass(frozen=True)
class ShardFolder(Unjudged):
    """The .jsonl, .csv or .parquet files below a folder, one kind of them, in the order of paths.

    Raises `DatasetError` where one of `NAME-00000-of-00003` is missing.
    """

    path: Path
    what = "file"
    """What one of its files is called."""

    @staticmethod
    def why_not(path: Path) -> str:
        """Why the folder is no corpus of such files; empty where it is one."""
        if is_ours(child.name for child in path.iterdir()):
            return "a folder of a model, an index or half a data set"
        first: Path | None = None
        texts = 0
        for file in sorted(walk(path)):
            here = file.relative_to(path)
            if _kind(file) in KINDS:
                if file.name.lower().startswith(_JUDGED):
                    return f"a folder with {here}, and without corpus.jsonl"
                first = first or file
                if _kind(file) != _kind(first):
                    return f"a folder with {first.relative_to(path)} and {here}, not of one kind"
            elif _kind(file).lower() in DATA:
                return f"a folder with {here}, and without corpus.jsonl"
            texts += _kind(file).lower() in SUFFIXES and not file.name.lower().startswith(_ABOUT)
        if first is None:
            return f"a folder without corpus.jsonl or any {', '.join((*KINDS, *SUFFIXES))}"
        if texts:
            kinds = f"{first.relative_to(path)} beside {texts} text" + "s" * (texts > 1)
            return f"a folder with {kinds}, not of one kind"
        return ""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """What is read, sorted by path."""
        return complete(tuple(sorted(file for file in walk(self.path) if _kind(file) in KINDS)))

    @property
    def others(self) -> tuple[Path, ...]:
        """What lies between them and is not read."""
        return tuple(sorted(file for file in walk(self.path) if _kind(file) not in KINDS))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when a file changes, comes or goes."""
        return fingerprint_files(self.files, root=self.path)

    def documents(self) -> Iterator[Document]:
        """Stream the files one after the other."""
        for file in self.files:
            yield from read_documents(file)

    def _no_judgements(self) -> DatasetError:
        return DatasetError(
            f"{self.path}: a folder of corpus files has no queries or judgements; wanted a folder "
            "with corpus.jsonl, queries.jsonl and qrels/test.tsv"
        )


def stem_of(path: Path) -> str:
    """The name of a file without its suffix, or which part of how many it is.

    >>> stem_of(Path("test-00000-of-00002.parquet")), stem_of(Path("dev.parquet"))
    ('test', 'dev')
    """
    part = _PART.fullmatch(path.stem)
    return part["stem"] if part else path.stem


def complete(files: tuple[Path, ...]) -> tuple[Path, ...]:
    """The files as they are. Raises `DatasetError` where one of `NAME-00000-of-00003` is missing:
    half a download would pass for a corpus.
    """
    found: dict[tuple[Path, str, str], set[int]] = {}
    for file in files:
        if part := _PART.fullmatch(_bare(file).stem):
            key = (file.parent, part["stem"], part["count"])
            found.setdefault(key, set()).add(int(part["number"]))
    for (folder, stem, count), numbers in found.items():
        missing = sorted(set(range(int(count))) - numbers)
        if missing:
            raise DatasetError(
                f"{folder}: part {missing[0]} of {stem}-*-of-{count} is not there, {len(numbers)} "
                f"of {int(count)} are (parts count from 0); wanted all of them"
            )
    return files


def _bare(file: Path) -> Path:
    return file.with_suffix("") if file.suffix in COMPRESSED else file


def _kind(file: Path) -> str:
    return _bare(file).suffix
