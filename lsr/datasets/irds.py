"""Collections of ir_datasets, an optional package that knows and downloads several hundred."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from ..types import Document, Qrels, Query

_JSON = str | int | float | None
_SPLITS = ("test", "dev", "train", "validation", "valid", "val")


class IrDataset:
    """One ir_datasets id; `load` is `ir_datasets.load`, which raises KeyError for an unknown id.

    An id that ends in a split (`beir/scifact/test`) is that split, and its siblings are the others.
    `docs_id` is the id of the documents alone, which several sets of judgements may share.
    """

    def __init__(
        self, name: str, irds_id: str, load: Callable[[str], Any], *, docs_id: str | None = None
    ) -> None:
        self.name = name
        self.path: Path | None = None
        self._load = load
        self._docs_id = docs_id or irds_id
        self._base = irds_id
        head, _, tail = irds_id.rpartition("/")
        if head and tail in _SPLITS:
            self._base = head
        load(irds_id)

    @property
    def corpus(self) -> "IrDataset":
        """The documents under their own id: TREC DL 2019 and 2020 need one index, not two."""
        if self._docs_id == self._base:
            return self
        return IrDataset(self._docs_id, self._docs_id, self._load)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the id and its document count; ir_datasets verifies its downloads."""
        with self._reading():
            corpus = self._corpus()
            # The count is None as long as ir_datasets has not read the documents itself.
            count = corpus.docs_count() or sum(1 for _ in corpus.docs_iter())
        return hashlib.sha256(f"{self._base}\0{count}".encode()).hexdigest()[:16]

    def documents(self) -> Iterator[Document]:
        """Stream the corpus; every field that JSON can hold is kept."""
        with self._reading():
            for row in self._corpus().docs_iter():
                columns = row._asdict()
                doc_id = columns.pop("doc_id")
                fields = {k: v for k, v in columns.items() if isinstance(v, _JSON)}
                if "text" not in fields:
                    fields["text"] = _without_title(row.default_text(), fields.get("title"))
                yield Document(str(doc_id), fields)

    def splits(self) -> list[str]:
        """The splits with judgements; an id without splits is called test."""
        return [split for split in _SPLITS if self._judged(split) is not None]

    def queries(self, split: str = "test") -> list[Query]:
        """The queries judged in this split, in the order of the source."""
        judged = self.qrels(split)
        with self._reading():
            return [
                Query(str(row.query_id), row.text if hasattr(row, "text") else row.default_text())
                for row in self._wanted(split).queries_iter()
                if str(row.query_id) in judged
            ]

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements of this split."""
        qrels: Qrels = {}
        with self._reading():
            rows = list(self._wanted(split).qrels_iter())
        for row in rows:
            qrels.setdefault(str(row.query_id), {})[str(row.doc_id)] = int(row.relevance)
        return qrels

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say which collection it was that ir_datasets could not download or read."""
        try:
            yield
        except (OSError, RuntimeError, EOFError) as error:  # requests' errors are OSErrors
            raise DatasetError(
                f"ir_datasets: {self._base} cannot be read ({error}); it downloads what it lacks, "
                "so look at the network, or name a folder of this disk instead"
            ) from error

    def _corpus(self) -> Any:
        for irds_id in (self._base, *(f"{self._base}/{split}" for split in _SPLITS)):
            loaded = self._try(irds_id)
            if loaded is not None and loaded.has_docs():
                return loaded
        raise DatasetError(f"ir_datasets: {self._base} has no documents")

    def _judged(self, split: str) -> Any | None:
        ids = [f"{self._base}/{split}", *([self._base] if split == "test" else [])]
        for irds_id in ids:
            loaded = self._try(irds_id)
            if loaded is not None and loaded.has_qrels() and loaded.has_queries():
                return loaded
        return None

    def _wanted(self, split: str) -> Any:
        loaded = self._judged(split)
        if loaded is None:
            raise DatasetError(
                f"ir_datasets: {self._base} has no judgements for split {split!r}; it has "
                f"{', '.join(self.splits()) or 'none'}"
            )
        return loaded

    def _try(self, irds_id: str) -> Any | None:
        try:
            return self._load(irds_id)
        except KeyError:
            return None


def _without_title(text: str, title: object) -> str:
    """What ir_datasets reads of a document that has no `text`, which often begins with its title:
    that is a field of its own here, and would be read twice.

    >>> _without_title("Caffeine keeps you awake", "Caffeine"), _without_title("Teapots", "Tea")
    ('keeps you awake', 'Teapots')
    """
    if not isinstance(title, str) or not title or not text.startswith(title):
        return text
    rest = text[len(title) :]
    return rest.lstrip() if not rest or rest[0].isspace() else text
