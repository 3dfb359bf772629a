"""A folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv, maybe compressed."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import DatasetError
from ..trec import read_qrels
from ..types import Document, Qrels, Query
from .dataset import fingerprint_files
from .records import COMPRESSED, read_documents, read_queries

_CORPUS = ("corpus.jsonl", "corpus.json", "corpus.tsv")
_QUERIES = ("queries.jsonl", "queries.json", "queries.tsv")


@dataclass(frozen=True)
class BeirFolder:
    """A collection on disk; nothing is read before it is asked for."""

    name: str
    path: Path

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether the folder holds a corpus file."""
        return path.is_dir() and _find(path, _CORPUS) is not None

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when the corpus, the queries or the judgements change."""
        files = [
            _find(self.path, _CORPUS),
            _find(self.path, _QUERIES),
            *self._qrels_files().values(),
        ]
        return fingerprint_files([file for file in files if file is not None], root=self.path)

    @property
    def corpus_file(self) -> Path:
        """The file of the documents."""
        return self._wanted(_CORPUS)

    def documents(self) -> Iterator[Document]:
        """Stream the corpus."""
        return read_documents(self.corpus_file)

    def splits(self) -> list[str]:
        """The splits with a qrels file, test first."""
        return sorted(self._qrels_files(), key=lambda split: (split != "test", split))

    def queries(self, split: str = "test") -> list[Query]:
        """The queries judged in this split, in the order of their file.

        A judged query without text is a `DatasetError`: left out, it would flatter every mean.
        """
        judged = self.qrels(split)
        file = self._wanted(_QUERIES)
        found: dict[str, Query] = {}
        for query in read_queries(file):
            if query.query_id in judged and found.setdefault(query.query_id, query) != query:
                raise DatasetError(f"{file}: query {query.query_id!r} occurs twice, with two texts")
        missing = judged.keys() - found.keys()
        if missing:
            raise DatasetError(
                f"{file}: {len(missing)} of the {len(judged)} queries judged in split {split!r} "
                f"have no text here, for example {min(missing)!r}; wanted every judged query"
            )
        return list(found.values())

    def all_queries(self) -> Iterator[Query]:
        """Stream every query of the folder, judged or not."""
        return read_queries(self._wanted(_QUERIES))

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements of this split."""
        files = self._qrels_files()
        if split not in files:
            raise DatasetError(
                f"{self.path}: no split {split!r}; wanted qrels/{split}.tsv, there is "
                f"{', '.join(self.splits()) or 'no qrels file at all'}"
            )
        qrels = read_qrels(files[split])
        if not qrels:
            raise DatasetError(f"{files[split]}: holds no judgements, wanted at least one")
        return qrels

    def _qrels_files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in sorted((self.path / "qrels").glob("*.tsv*")):
            split = path.name.split(".tsv")[0]
            if path.name in (f"{split}.tsv", f"{split}.tsv.gz", f"{split}.tsv.zst"):
                found.setdefault(split, path)
        return found

    def _wanted(self, names: tuple[str, ...]) -> Path:
        path = _find(self.path, names)
        if path is None:
            raise DatasetError(f"{self.path}: no {names[0]} (also .gz or .zst) in this folder")
        return path


def _find(folder: Path, names: tuple[str, ...]) -> Path | None:
    for name in names:
        for suffix in ("", *COMPRESSED):
            path = folder / f"{name}{suffix}"
            if path.is_file():
                return path
    return None
