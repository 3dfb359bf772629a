"""A folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv, maybe compressed.

Or in the hub's, where each of them is Parquet, in one file or several: corpus/*.parquet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import DatasetError
from ..parquet import SUFFIX as PARQUET_SUFFIX
from ..trec import read_qrels
from ..types import Document, Qrels, Query
from .dataset import fingerprint_files
from .records import COMPRESSED, read_documents, read_queries
from .shards import complete, stem_of

_CORPUS, _QUERIES, _QRELS = "corpus", "queries", "qrels"
_SUFFIXES = (".jsonl", ".json", ".tsv")


@dataclass(frozen=True)
class BeirFolder:
    """A collection on disk; nothing is read before it is asked for."""

    name: str
    path: Path

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether the folder holds a corpus file."""
        return path.is_dir() and bool(_files(path, _CORPUS))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when the corpus, the queries or the judgements change."""
        qrels = [file for files in self._qrels_files().values() for file in files]
        files = [*_files(self.path, _CORPUS), *_files(self.path, _QUERIES), *qrels]
        return fingerprint_files(files, root=self.path)

    @property
    def corpus_files(self) -> tuple[Path, ...]:
        """The files of the documents, in order. Raises `DatasetError` where a part is missing."""
        return self._wanted(_CORPUS)

    def documents(self) -> Iterator[Document]:
        """Stream the corpus."""
        for file in self.corpus_files:
            yield from read_documents(file)

    def splits(self) -> list[str]:
        """The splits with a qrels file, test first."""
        return sorted(self._qrels_files(), key=lambda split: (split != "test", split))

    def queries(self, split: str = "test") -> list[Query]:
        """The queries judged in this split, in the order of their file.

        A judged query without text is a `DatasetError`: left out, it would flatter every mean.
        """
        judged = self.qrels(split)
        files = self._wanted(_QUERIES)
        found: dict[str, Query] = {}
        for file in files:
            for query in read_queries(file):
                if query.query_id in judged and found.setdefault(query.query_id, query) != query:
                    raise DatasetError(
                        f"{file}: query {query.query_id!r} occurs twice, with two texts"
                    )
        missing = judged.keys() - found.keys()
        if missing:
            raise DatasetError(
                f"{files[0]}: {len(missing)} of the {len(judged)} queries judged in split "
                f"{split!r} have no text here, for example {min(missing)!r}; wanted every judged "
                "query"
            )
        return list(found.values())

    def all_queries(self) -> Iterator[Query]:
        """Stream every query of the folder, judged or not."""
        for file in self._wanted(_QUERIES):
            yield from read_queries(file)

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements of this split."""
        files = self._qrels_files()
        if split not in files:
            raise DatasetError(
                f"{self.path}: no split {split!r}; wanted qrels/{split}.tsv, there is "
                f"{', '.join(self.splits()) or 'no qrels file at all'}"
            )
        qrels: Qrels = {}
        for file in complete(files[split]):
            for query_id, grades in read_qrels(file).items():
                qrels.setdefault(query_id, {}).update(grades)
        if not qrels:
            raise DatasetError(f"{files[split][0]}: holds no judgements, wanted at least one")
        return qrels

    def _qrels_files(self) -> dict[str, tuple[Path, ...]]:
        folder = self.path / _QRELS
        found: dict[str, tuple[Path, ...]] = {}
        for path in sorted(folder.glob("*.tsv*")):
            split = path.name.split(".tsv")[0]
            if path.name in (f"{split}.tsv", *(f"{split}.tsv{end}" for end in COMPRESSED)):
                found.setdefault(split, (path,))
        parts: dict[str, tuple[Path, ...]] = {}
        for path in sorted(folder.glob(f"*{PARQUET_SUFFIX}")):
            parts[stem_of(path)] = (*parts.get(stem_of(path), ()), path)
        return parts | found

    def _wanted(self, stem: str) -> tuple[Path, ...]:
        files = _files(self.path, stem)
        if not files:
            raise DatasetError(
                f"{self.path}: no {stem}{_SUFFIXES[0]} (also .gz or .zst) in this folder, nor "
                f"{stem}/*{PARQUET_SUFFIX}"
            )
        return complete(files)


def _files(folder: Path, stem: str) -> tuple[Path, ...]:
    for suffix in _SUFFIXES:
        for compressed in ("", *COMPRESSED):
            path = folder / f"{stem}{suffix}{compressed}"
            if path.is_file():
                return (path,)
    for place in (stem, f"{stem}-*-of-*", f"{stem}/*"):
        if files := sorted(folder.glob(f"{place}{PARQUET_SUFFIX}")):
            return tuple(files)
    return ()
