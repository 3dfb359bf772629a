"""A collection with judgements of one's own in place of those it came with."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import DatasetError
from ..trec import read_qrels
from ..types import Document, Qrels, Query
from .beir import BeirFolder
from .dataset import Dataset, fingerprint_files
from .records import read_queries


@dataclass(frozen=True)
class JudgedBy:
    """`corpus`, judged by the qrels file; the queries' texts are in `texts`, else the corpus's own.

    Its one split is called by the name of the qrels file, so that no figure is mistaken for one of
    the official judgements.
    """

    corpus: Dataset
    judgements: Path
    texts: Path | None = None

    @property
    def name(self) -> str:
        """The corpus's name."""
        return self.corpus.name

    @property
    def path(self) -> Path | None:
        """Where the corpus lies."""
        return self.corpus.path

    @property
    def split(self) -> str:
        """The name of its one split."""
        return self.judgements.name

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the corpus, the judgements and the queries' file."""
        own = [self.judgements, *([self.texts] if self.texts is not None else [])]
        parts = [fingerprint_files([file], root=file.parent) for file in own]
        return hashlib.sha256(" ".join([self.corpus.fingerprint, *parts]).encode()).hexdigest()[:16]

    def documents(self) -> Iterator[Document]:
        """Stream the corpus."""
        return self.corpus.documents()

    def splits(self) -> list[str]:
        """The one split."""
        return [self.split]

    def queries(self, split: str = "test") -> list[Query]:
        """The queries that the file judges; one without a text is a `DatasetError`."""
        judged = self.qrels(split)
        found: dict[str, Query] = {}
        for query in self._texts():
            if query.query_id in judged:
                found.setdefault(query.query_id, query)
        missing = judged.keys() - found.keys()
        if missing:
            raise DatasetError(
                f"{self.judgements}: {len(missing)} of {len(judged)} judged queries have no text, "
                f"for example {min(missing)!r}; give the queries' file with --queries"
            )
        return list(found.values())

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements of the file, whatever split is named."""
        qrels = read_qrels(self.judgements)
        if not qrels:
            raise DatasetError(f"{self.judgements}: holds no judgements, wanted at least one")
        return qrels

    def _texts(self) -> Iterator[Query]:
        if self.texts is not None:
            yield from read_queries(self.texts)
        elif isinstance(self.corpus, BeirFolder):
            yield from self.corpus.all_queries()
        else:
            for split in self.corpus.splits():
                yield from self.corpus.queries(split)
