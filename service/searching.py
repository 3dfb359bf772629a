"""From a search request to its answer: read the query, search, fetch fields, explain.

The ranking is exact and of one commit. Stored fields and explanations are read after it; where a
document was replaced in between, the search is run again, so that an answer never mixes commits.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from index import Hits
from lsr.errors import QueryError, UsageError, VectorError
from lsr.types import SparseMatrix

from .engine import Collection
from .filters import index_filter
from .problems import ProblemError, did_you_mean
from .queries import MAX_LISTED, ReadQuery, notice, read_query
from .wire.search import SearchRequest

TRIES = 3


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds by stage; a stage that runs twice adds up."""

    stages: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.perf_counter)
    _lap: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to `stage`."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + (now - self._lap) * 1000
        self._lap = now

    def as_milliseconds(self) -> dict[str, float]:
        """Every stage and the total."""
        total = (time.perf_counter() - self._started) * 1000
        return {stage: round(ms, 3) for stage, ms in self.stages.items()} | {
            "total": round(total, 3)
        }


class _ReplacedError(Exception):
    """A document of the answer is not what it was when it was ranked."""


def search(collection: Collection, request: SearchRequest) -> tuple[dict[str, Any], Stopwatch]:
    """The answer, ready for JSON, and its times. Raises `ProblemError`."""
    watch = Stopwatch()
    condition = index_filter(request.filter, collection.index.fields)
    query = read_query(collection, request.query)
    watch.lap("encode")
    for _ in range(TRIES):
        try:
            generation, hits = _found(collection, query, condition, request, watch)
        except _ReplacedError:
            continue
        break
    else:
        raise ProblemError(
            "index_busy",
            "Documents of the answer were replaced while it was put together, "
            f"{TRIES} times in a row.",
            hint="Try again.",
            headers={"Retry-After": "1"},
        )
    warnings = [*query.warnings, *_field_warnings(request.fields, hits)]
    if request.fields:
        wanted = request.fields
        for hit in hits:
            stored = hit["fields"]
            hit["fields"] = {name: stored[name] for name in wanted if name in stored}
    answer = {
        "index": collection.name,
        "generation": generation,
        "mode": "exact",
        "query": {
            "encoder": collection.encoder_label,
            "strategy": query.strategy,
            "terms_used": int(query.matrix.nnz),
        },
        "hits": hits,
        "warnings": warnings,
    }
    return answer, watch


def _found(
    collection: Collection,
    query: ReadQuery,
    condition: Mapping[str, Any] | None,
    request: SearchRequest,
    watch: Stopwatch,
) -> tuple[int, list[dict[str, Any]]]:
    index = collection.index
    try:
        found = index.search(query.matrix, request.limit, filter=condition)
    except (QueryError, VectorError) as error:
        raise ProblemError("invalid_query", f"{error}.") from error
    watch.lap("score")
    hits: list[dict[str, Any]] = [
        {"id": doc_id, "rank": rank, "score": score, "fields": {}}
        for rank, (doc_id, score) in enumerate(found, start=1)
    ]
    docids = found.ranking.docids
    try:
        if request.fields != []:
            for hit, document in zip(hits, index.documents(docids), strict=True):
                hit["fields"] = dict(document.fields)
        if request.explain:
            _explain(collection, query.matrix, found, hits)
        if any(view.segment.groups is not None for view in index.refresh().views):
            for hit, span in zip(hits, index.spans(docids.tolist()), strict=True):
                if span is not None:
                    hit["passage"] = {"start": span[0], "end": span[1]}
    except UsageError as error:  # a document of the ranking is gone
        raise _ReplacedError from error
    watch.lap("fetch")
    return found.generation, hits


def _explain(
    collection: Collection, query: SparseMatrix, found: Hits, hits: list[dict[str, Any]]
) -> None:
    for hit, ranked in zip(hits, found.ranking.scores.tolist(), strict=True):
        explanation = collection.index.explain(query, hit["id"])
        if explanation.integer_score != ranked:
            raise _ReplacedError
        terms: Sequence[str | None] = [None] * len(explanation.terms)
        if collection.encoder is not None:
            terms = collection.encoder.term_strings([one.term for one in explanation.terms])
        hit["explain"] = {
            "terms": [
                {
                    "term": term,
                    "index": one.term,
                    "query": one.query_weight,
                    "doc": one.doc_weight,
                    "score": one.score,
                    "share": one.share,
                }
                for term, one in zip(terms, explanation.terms, strict=True)
            ],
            "sum": explanation.score,
        }


def _field_warnings(
    wanted: Sequence[str] | None, hits: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Documents have no schema, so a wanted field that no hit has may be a slip of the pen."""
    if not wanted or not hits:
        return []
    stored = {name for hit in hits for name in hit["fields"]}
    missing = [name for name in wanted if name not in stored]
    if not missing:
        return []
    hint = did_you_mean(missing[0], sorted(stored))
    message = "No hit has these fields." + (f" {hint}" if hint else "")
    return [notice("unknown_fields", message, missing[:MAX_LISTED])]
