"""Why a document is where it is: its score, what it lacks, and what would lift it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from index import Cancel, Explanation, Hits
from index.quantize import MAX_IMPACT
from lsr.errors import QueryError, SearchCancelled, UsageError

from ..collection import Collection
from ..filters import prepare
from ..problems import ProblemError
from ..wire.why import RANKED, ExplainRequest
from .cancelling import called_off
from .explaining import explanation, names_of, passage, said_terms
from .queries import ReadQuery, read_query, report
from .terms import term_numbers
from .watch import Stopwatch

TRIES = 5
NOTE = (
    "Weights that the document's vector would need, other things being equal. Expansion terms are "
    "learned associations: no word in a text gives its term a chosen weight, and a text that is "
    "changed changes other weights as well."
)


def why(
    collection: Collection, doc_id: str, request: ExplainRequest, *, cancel: Cancel | None = None
) -> tuple[dict[str, Any], Stopwatch]:
    """The answer, ready for JSON, and its times. Raises `ProblemError`."""
    watch = Stopwatch()
    query = read_query(collection, request.query)
    watch.lap("encode")
    prepare(collection.index, request.filter)
    conditions: dict[str, Any] = {
        "filter": request.filter,
        "require": term_numbers(collection, request.require_terms, "require_terms"),
        "exclude": term_numbers(collection, request.exclude_terms, "exclude_terms"),
    }
    watch.lap("filter")
    for _ in range(TRIES):
        generation = collection.index.generation
        answer = _of_one_commit(collection, doc_id, request, query, conditions, watch, cancel)
        if collection.index.generation == generation == answer["generation"]:
            return answer, watch
    raise ProblemError(
        "index_busy",
        f"The index was written to while the document was explained, {TRIES} times in a row.",
        hint="Try again.",
        headers={"Retry-After": "1"},
    )


def _of_one_commit(
    collection: Collection,
    doc_id: str,
    request: ExplainRequest,
    query: ReadQuery,
    conditions: dict[str, Any],
    watch: Stopwatch,
    cancel: Cancel | None,
) -> dict[str, Any]:
    """All but the proof that nothing was written meanwhile."""
    index = collection.index
    try:
        wanted = RANKED + (query.skip is not None)
        found = index.search(query.matrix, wanted, **conditions, cancel=cancel).without(query.skip)
    except QueryError as error:
        raise ProblemError("invalid_query", f"{error}.") from error
    except SearchCancelled as error:
        raise called_off() from error
    watch.lap("score")
    told_ids = found.doc_ids[:RANKED]  # one more was ranked where the query's own document counts
    rank = told_ids.index(doc_id) + 1 if doc_id in told_ids else None
    try:
        if rank is None:
            told = index.explain(query.matrix, doc_id)
        else:  # of several passages the one that was ranked: the conditions may forbid a better one
            ((told,), _) = index.explain_docids(query.matrix, found.ranking.docids[rank - 1 : rank])
        document = index.get(doc_id)
        allowed = index.allows(doc_id, **conditions)
    except UsageError:
        document = None
    if document is None:
        raise ProblemError(
            "unknown_document",
            f"Index '{collection.name}' holds no document with the id '{doc_id[:100]}'.",
            hint="Ids are the caller's own strings; percent-encode what addresses reserve.",
        )
    span = None
    if rank is not None:
        (span,) = index.spans([int(found.ranking.docids[rank - 1])])
    spoken = said_terms(collection, document, span)
    answer: dict[str, Any] = {
        "index": collection.name,
        "generation": found.generation,
        "id": doc_id,
        "query": report(collection, query),
        "allowed": allowed,
        "rank": rank,
        "score": told.score,
        "explain": explanation(
            collection,
            told,
            spoken=spoken,
            unit=found.ranking.unit,
            ranked=told.integer_score,
            top_terms=None,
        ),
        "missing": _missing(collection, told, spoken, query),
        **_distance(collection, query, told, found, rank, request.k),
        "warnings": query.warnings,
    }
    if span is not None:
        answer["passage"] = passage(span, collection, document)
    watch.lap("fetch")
    return answer


def _missing(
    collection: Collection,
    told: Explanation,
    spoken: frozenset[int] | None,
    query: ReadQuery,
) -> list[dict[str, Any]]:
    terms = [one.term for one in told.missing]
    heaviest = collection.index.heaviest(terms).tolist()
    return [
        {
            "term": name,
            "index": one.term,
            "query": one.query_weight,
            "heaviest": most,
            "in_text": None if spoken is None else one.term in spoken,
        }
        for name, one, most in zip(
            _names(collection, terms, heaviest, query), told.missing, heaviest, strict=True
        )
    ]


def _names(
    collection: Collection, terms: Sequence[int], heaviest: Sequence[float], query: ReadQuery
) -> Sequence[str | None]:
    """As `names_of`; a key with a filter that asks by number is named terms of its documents alone.

    Others are words of documents that it may not see.
    """
    names = names_of(collection, terms)
    if not collection.view or query.strategy != "vector":
        return names
    return [name if most > 0 else None for name, most in zip(names, heaviest, strict=True)]


def _distance(
    collection: Collection,
    query: ReadQuery,
    told: Explanation,
    found: Hits,
    rank: int | None,
    k: int,
) -> dict[str, Any]:
    """`cut`, `gap` and `lift`."""
    cut, points, gap = None, 0, 0.0
    if len(found) >= k:
        points = int(found.ranking.scores[k - 1])
        score = points * found.ranking.unit
        cut = {"id": found.doc_ids[k - 1], "rank": k, "score": score}
        gap = score - told.score
    if rank is not None and rank <= k:
        return {"cut": cut, "gap": None, "lift": None}
    # A document that is written anew comes after all others of its score.
    needed = max(1, points + 1 - told.integer_score)
    return {"cut": cut, "gap": gap, "lift": _lift(collection, query, told, needed)}


def _lift(
    collection: Collection, query: ReadQuery, told: Explanation, needed: int
) -> dict[str, Any]:
    """Which missing terms are worth `needed` points: impact x integer weight of the query."""
    index = collection.index
    integers = index.rounded(query.matrix.indices, query.matrix.data)
    terms = np.array([one.term for one in told.missing], np.int64)
    weights = integers.weights[np.searchsorted(integers.terms, terms)].astype(np.int64)
    impacts = -(-needed // np.maximum(weights, 1))
    heaviest = index.heaviest(terms)
    most = np.rint(heaviest / index.scale).astype(np.int64)
    largest = 1 if index.settings.binary else MAX_IMPACT
    names = _names(collection, terms.tolist(), heaviest.tolist(), query)
    alone = [
        {
            "term": names[at],
            "index": int(terms[at]),
            "weight": float(impacts[at]) * index.scale,
            "plausible": bool(impacts[at] <= most[at]),
        }
        for at in np.argsort(impacts, kind="stable").tolist()
        if impacts[at] <= largest
    ]
    return {
        "terms": alone,
        "together": _together(names, terms, weights * most, needed),
        "note": NOTE,
    }


def _together(
    names: Sequence[str | None], terms: np.ndarray, points: np.ndarray, needed: int
) -> list[str | int] | None:
    """The fewest terms whose greatest points add up to what is needed."""
    chosen: list[str | int] = []
    for at in np.argsort(-points, kind="stable").tolist():
        if points[at] == 0:
            break
        name = names[at]
        chosen.append(int(terms[at]) if name is None else name)
        needed -= int(points[at])
        if needed <= 0:
            return chosen
    return None
