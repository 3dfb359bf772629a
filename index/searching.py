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

Found = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]
"""Docids and integer scores of one query, best first."""

_NO_DOCIDS = np.empty(0, np.uint32)


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
    snapshot: Snapshot, found: Sequence[Found], queries: Sequence[IntegerQuery]
) -> list[Hits]:
    """Name the documents of all rankings; each id is read once however many queries found it."""
    if len(found) == 1:
        docids, scores = found[0]
        ranking = Ranking(docids, scores, queries[0].unit)
        return [Hits(snapshot.doc_ids(docids), ranking, snapshot.generation)]
    everything = np.concatenate([docids for docids, _ in found]) if found else _NO_DOCIDS
    distinct, inverse = np.unique(everything, return_inverse=True)
    names = np.array(snapshot.doc_ids(distinct), dtype=object)[inverse].tolist()
    hits = []
    start = 0
    for (docids, scores), query in zip(found, queries, strict=True):
        ranking = Ranking(docids, scores, query.unit)
        hits.append(Hits(names[start : start + len(docids)], ranking, snapshot.generation))
        start += len(docids)
    return hits


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
    answers: dict[int, Found] = {}
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
                answers[i] = (docids[first], scores[first])
        waiting = still
        width *= 4
    return hits_of(snapshot, [answers[i] for i in range(len(queries))], queries)


def _groups_of(snapshot: Snapshot, docids: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    groups = docids.copy()
    for view in snapshot.views:
        if view.segment.groups is not None:
            positions = view.segment.positions_of(docids)
            here = positions >= 0
            groups[here] = view.segment.groups[positions[here]]
    return groups
