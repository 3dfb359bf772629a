"""Re-ranking the head of a run, or of what a retriever finds; what lies deeper keeps its place."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..datasets import Dataset
from ..errors import DatasetError, UsageError
from ..progress import Bar, bar
from ..types import Retriever, Run
from .aggregation import rank


class Reranker(Protocol):
    """Scores the documents of one query; the order they come in is the first stage's."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def score(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """(n,) float64, higher is better."""
        ...


def rerank(
    run: Run,
    queries: Mapping[str, str],
    texts: Mapping[str, str],
    reranker: Reranker,
    *,
    depth: int = 100,
    progress: bool = False,
) -> Run:
    """The run with the first `depth` documents of each query ordered by the re-ranker's scores.

    `queries` and `texts` give the text of every query_id of the run and of every doc_id within the
    depth.
    """

    def scores(query_id: str, doc_ids: Sequence[str]) -> npt.NDArray[np.float64]:
        known = [_text(texts, doc_id, "document") for doc_id in doc_ids]
        return reranker.score(_text(queries, query_id, "query"), known)

    return reorder(run, scores, depth=depth, progress=progress)


def reorder(
    run: Run,
    scores: Callable[[str, Sequence[str]], npt.NDArray[np.float64]],
    *,
    depth: int = 100,
    progress: bool = False,
) -> Run:
    """The run with the first `depth` documents ordered by `scores(query_id, doc_ids)`, descending.

    Documents below keep their order; theirs are no such scores, just lower ones. Equal scores stay
    in the run's order.
    """
    if depth < 1:
        raise UsageError(f"a depth of {depth}; wanted 1 document or more")
    rows: list[tuple[str, list[str], npt.NDArray[np.float64]]] = []
    done: Bar[str] = bar(list(run), unit="queries", desc="re-ranking", quiet=not progress or None)
    with done:
        for query_id in done:
            doc_ids = [doc_id for doc_id, _ in run.ranked(query_id)]
            head = doc_ids[:depth]
            given = scores(query_id, head)
            order = rank(given)
            lowest = float(given.min(initial=0.0))
            below = lowest - 1.0 - np.arange(len(doc_ids) - len(head))
            ordered = [head[i] for i in order] + doc_ids[depth:]
            rows.append((query_id, ordered, np.concatenate([given[order], below])))
    return Run.from_rows(rows)


def texts_of(dataset: Dataset, doc_ids: Iterable[str]) -> dict[str, str]:
    """doc_id -> title and text of the named documents, from one reading of the corpus.

    Raises `DatasetError` for an id that the collection does not have.
    """
    wanted = set(doc_ids)
    found = {d.doc_id: d.text() for d in dataset.documents() if d.doc_id in wanted}
    if len(found) < len(wanted):
        missing = wanted - found.keys()
        raise DatasetError(
            f"{dataset.name} has no document {min(missing)!r}, nor {len(missing) - 1} "
            "others of the run; wanted a run over this collection"
        )
    return found


@dataclass(frozen=True)
class RerankedRetriever:
    """A retriever whose first `depth` documents are ordered again."""

    first: Retriever
    reranker: Reranker
    texts: Mapping[str, str]
    """doc_id -> text, of every document the first stage may find."""
    depth: int = 100

    def search(self, texts: Mapping[str, str], k: int) -> Run:
        """Answer `{query_id: text}`; finds max(k, depth) documents and returns the best k."""
        found = self.first.search(texts, max(k, self.depth))
        return rerank(found, texts, self.texts, self.reranker, depth=self.depth).cut(k)


def _text(texts: Mapping[str, str], name: str, what: str) -> str:
    try:
        return texts[name]
    except KeyError:
        raise DatasetError(
            f"there is no text of {what} {name!r}; wanted one for everything that is re-ranked"
        ) from None
