"""From integer queries to hits: filters, required and excluded terms, ids, certificates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lsr.errors import QueryError
from lsr.types import Ranking

from .approximate import Approximate, SearchReport
from .columns import Kind
from .engine import Found, documents_with, report_of
from .filtering import Expression, Filter, matching, parsed
from .live import Live, everything
from .quantize import IntegerQuery
from .snapshot import Snapshot, View

_NO_DOCIDS = np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True)
class Hits:
    """The best documents of one query: ids beside the integer ranking, at commit `generation`.

    `report` says whether that is the exact answer, and what was left alone, `split` whether some
    documents of the index are passages. `missing` are the shards of a set that did not answer,
    where that was allowed.
    """

    doc_ids: list[str]
    ranking: Ranking
    generation: int
    report: SearchReport
    split: bool = False
    missing: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.doc_ids)

    def __iter__(self) -> Iterator[tuple[str, float]]:
        """(doc_id, score in the encoder's unit), best first."""
        return iter(zip(self.doc_ids, self.ranking.weights().tolist(), strict=True))

    def without(self, doc_id: str | None) -> "Hits":
        """The same ranking without one document, such as that which the query was made of."""
        if doc_id not in self.doc_ids:
            return self
        at = self.doc_ids.index(doc_id)
        ranking = replace(
            self.ranking,
            docids=np.delete(self.ranking.docids, at),
            scores=np.delete(self.ranking.scores, at),
        )
        return replace(self, doc_ids=[*self.doc_ids[:at], *self.doc_ids[at + 1 :]], ranking=ranking)


def live_words(
    snapshot: Snapshot,
    fields: Mapping[str, Kind],
    *,
    filter: Filter | None = None,
    require: Sequence[int] = (),
    exclude: Sequence[int] = (),
) -> list[Live | None]:
    """Per segment, what a search may return: not deleted, passing every filter, holding every term
    of `require` and none of `exclude`. Raises `QueryError`.
    """
    expression = parsed(filter, fields)
    if expression is None and not (len(require) or len(exclude)):
        return [view.live for view in snapshot.views]
    return [_restricted(view, expression, require, exclude) for view in snapshot.views]


def _restricted(
    view: View,
    expression: Expression | None,
    require: Sequence[int],
    exclude: Sequence[int],
) -> Live:
    segment = view.segment
    words = view.live
    if expression is not None:
        passing = matching(expression, segment)
        words = passing if words is None else words & passing
    if words is None:
        words = everything(segment.n_docs)
    for term in require:
        words = words & documents_with(segment, _checked_term(term, segment.n_terms))
    for term in exclude:
        words = words & ~documents_with(segment, _checked_term(term, segment.n_terms))
    return words


def _checked_term(term: int, n_terms: int) -> int:
    if isinstance(term, bool) or not isinstance(term, (int, np.integer)):
        raise QueryError(
            f"required or excluded term {term!r}: wanted the number of a term; "
            "`word_terms(encoder, WORD)` of lsr.encoders gives those of a word"
        )
    if not 0 <= term < n_terms:
        raise QueryError(
            f"required or excluded term {term} is outside the vocabulary of {n_terms} terms"
        )
    return int(term)


def hits_of(
    snapshot: Snapshot,
    found: Sequence[Found],
    queries: Sequence[IntegerQuery],
    *,
    approximate: Approximate | None = None,
) -> list[Hits]:
    """Name the documents of all rankings; each id is read once however many queries found it."""
    if len(found) == 1:
        return [
            _hits(snapshot, found[0], queries[0], approximate, snapshot.doc_ids(found[0].docids))
        ]
    everything = np.concatenate([one.docids for one in found]) if found else _NO_DOCIDS
    distinct, inverse = np.unique(everything, return_inverse=True)
    names = np.array(snapshot.doc_ids(distinct), dtype=object)[inverse].tolist()
    hits = []
    start = 0
    for one, query in zip(found, queries, strict=True):
        end = start + len(one.docids)
        hits.append(_hits(snapshot, one, query, approximate, names[start:end]))
        start = end
    return hits


def _hits(
    snapshot: Snapshot,
    found: Found,
    query: IntegerQuery,
    approximate: Approximate | None,
    doc_ids: list[str],
) -> Hits:
    return Hits(
        doc_ids,
        Ranking(found.docids, found.scores, query.unit),
        snapshot.generation,
        report_of(found, unit=query.unit, approximate=approximate),
        snapshot.split,
    )
