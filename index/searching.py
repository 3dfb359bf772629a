"""From integer queries to hits: filters, the core's search, ids, the best passage per document."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import QueryError
from lsr.types import Ranking

from .quantize import IntegerQuery
from .segment import Algorithm, search_batch
from .snapshot import Mask, Snapshot


@dataclass(frozen=True, slots=True)
class Hits:
    """The best documents of one query: ids beside the integer ranking, at commit `generation`."""

    doc_ids: list[str]
    ranking: Ranking
    generation: int

    def __len__(self) -> int:
        return len(self.doc_ids)

    def __iter__(self) -> Iterator[tuple[str, float]]:
        """(doc_id, score in the encoder's unit), best first."""
        return iter(zip(self.doc_ids, self.ranking.weights().tolist(), strict=True))


def live_masks(
    snapshot: Snapshot, filter: Mapping[str, Any] | None, fields: Mapping[str, str]
) -> list[Mask | None]:
    """Per segment, which positions a search may return: not deleted, and passing every filter."""
    if not filter:
        return [view.live for view in snapshot.views]
    predicates = {}
    for name, value in filter.items():
        if name not in fields:
            raise QueryError(
                f"filter field {name!r} was not declared when the index was built (declared: "
                f"{', '.join(sorted(fields)) or 'none'}); rebuild it with --field {name}:keyword"
            )
        predicates[name] = _conditions(value)
    masks: list[Mask | None] = []
    for view in snapshot.views:
        mask = np.ones(view.segment.n_docs, np.uint8) if view.live is None else view.live.copy()
        for name, predicate in predicates.items():
            mask &= view.segment.column(name).mask(predicate)
        masks.append(mask)
    return masks


def _conditions(value: Any) -> Mapping[str, Any]:
    """A plain value means equality, a list means any of them, a mapping says what it means."""
    if isinstance(value, Mapping):
        return value
    return {"in": value} if isinstance(value, list) else {"eq": value}


def hits_of(
    snapshot: Snapshot,
    docids: npt.NDArray[np.uint32],
    scores: npt.NDArray[np.uint32],
    unit: float,
) -> Hits:
    """Name the documents of one ranking."""
    doc_ids = [segment.doc_id(position) for segment, position in snapshot.locate(docids)]
    return Hits(doc_ids, Ranking(docids, scores, unit), snapshot.generation)


def search_collapsed(
    snapshot: Snapshot,
    live: Sequence[Mask | None],
    queries: Sequence[IntegerQuery],
    k: int,
    threads: int,
    algorithm: Algorithm,
) -> list[Hits]:
    """The k best documents of each query, each represented by its best passage.

    Exact: the ranking of passages is exact, so the first passage met of a document is its best, and
    the search is widened until k documents are met or no passage is left.
    """
    answers: list[Hits | None] = [None] * len(queries)
    waiting = list(range(len(queries)))
    width = 2 * k
    while waiting:
        found = search_batch(
            [view.segment for view in snapshot.views],
            live,
            [queries[i] for i in waiting],
            width,
            threads=threads,
            algorithm=algorithm,
        )
        still = []
        for i, (docids, scores) in zip(waiting, found, strict=True):
            groups = _groups_of(snapshot, docids)
            first = np.sort(np.unique(groups, return_index=True)[1])[:k]
            if len(first) < k and len(docids) == width:
                still.append(i)
            else:
                answers[i] = hits_of(snapshot, docids[first], scores[first], queries[i].unit)
        waiting = still
        width *= 4
    return [answer for answer in answers if answer is not None]


def _groups_of(snapshot: Snapshot, docids: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    groups = docids.copy()
    for view in snapshot.views:
        if view.segment.groups is not None:
            positions = view.segment.positions_of(docids)
            here = positions >= 0
            groups[here] = view.segment.groups[positions[here]]
    return groups
