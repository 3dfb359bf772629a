"""From a search request to its answer: read the query, search, fetch fields, explain.

The ranking is exact and of one commit. Stored fields and explanations are read after it; where a
document was replaced in between, the search is run again, so that an answer never mixes commits.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from index import Hits
from index.quantize import MAX_QUERY_TERMS
from lsr.errors import QueryError, UsageError, VectorError
from lsr.types import SparseMatrix

from .engine import Collection
from .filters import index_filter
from .problems import Fault, ProblemError, did_you_mean
from .schemas import QueryInput, SearchRequest, Vector

TRIES = 3
MAX_LISTED = 20
"""Unknown tokens or fields listed in one warning."""


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


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """A query as a (1, n_terms) matrix, and how it came about."""

    matrix: SparseMatrix
    strategy: str
    warnings: list[dict[str, Any]]


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


def read_query(collection: Collection, query: QueryInput) -> ReadQuery:
    """The query's weights by term number. Raises `ProblemError` if this index cannot read it."""
    if query.text is not None:
        read = _from_text(collection, query.text)
    elif query.tokens is not None:
        read = _from_tokens(collection, query.tokens)
    else:
        assert query.vector is not None
        read = _from_vector(collection, query.vector)
    if read.matrix.nnz > MAX_QUERY_TERMS:
        raise ProblemError(
            "query_too_long",
            f"The query has {read.matrix.nnz:,} different terms, at most {MAX_QUERY_TERMS:,} fit.",
            hint="Send a shorter text, or its heaviest terms as tokens.",
        )
    return read


def _from_text(collection: Collection, text: str) -> ReadQuery:
    if collection.encoder is None:
        raise _no_encoder(collection, "text")
    matrix = collection.encoder.encode_queries([text])
    warnings = []
    if not text.strip():
        warnings.append(_notice("empty_query", "The query is empty, so nothing can match it."))
    elif not matrix.nnz:
        warnings.append(
            _notice(
                "no_known_terms",
                "No word of the query carries weight (all unknown or stop words), "
                "so nothing can match it.",
            )
        )
    return ReadQuery(matrix, collection.encoder.query_strategy, warnings)


def _from_tokens(collection: Collection, tokens: Mapping[str, float]) -> ReadQuery:
    if collection.encoder is None:
        raise _no_encoder(collection, "tokens")
    numbers = collection.term_numbers
    weights = {numbers[token]: weight for token, weight in tokens.items() if token in numbers}
    matrix = _row(list(weights), list(weights.values()), collection.index.n_terms)
    unknown = [token for token in tokens if token not in numbers]
    warnings = []
    if unknown:
        warnings.append(
            _notice(
                "unknown_tokens",
                f"{len(unknown)} of {len(tokens)} tokens are no entries of the encoder's "
                "vocabulary and were left out; send text to have it analysed.",
                unknown[:MAX_LISTED],
            )
        )
    elif not matrix.nnz:
        warnings.append(_notice("empty_query", "No token has a weight above 0."))
    return ReadQuery(matrix, "tokens", warnings)


def _from_vector(collection: Collection, vector: Vector) -> ReadQuery:
    n_terms = collection.index.n_terms
    indices = vector.indices
    if len(indices) != len(vector.values):
        raise ProblemError(
            "invalid_query",
            f"The vector has {len(indices)} indices and {len(vector.values)} values.",
            hint="Give one value for each index.",
            faults=[Fault("/query/vector", "indices and values differ in length")],
        )
    if indices and max(indices) >= n_terms:
        at = next(i for i, index in enumerate(indices) if index >= n_terms)
        raise ProblemError(
            "invalid_query",
            f"Term number {indices[at]} is outside the vocabulary of {n_terms} terms.",
            hint="Encode the query with the encoder that built the index.",
            faults=[Fault(f"/query/vector/indices/{at}", f"wanted 0 to {n_terms - 1}")],
        )
    if len(set(indices)) < len(indices):
        first = {index: at for at, index in reversed(list(enumerate(indices)))}
        at = next(at for at, index in enumerate(indices) if first[index] != at)
        raise ProblemError(
            "invalid_query",
            f"Term number {indices[at]} is given more than once.",
            hint="Add its weights up.",
            faults=[Fault(f"/query/vector/indices/{at}", "repeated", indices[at])],
        )
    matrix = _row(indices, vector.values, n_terms)
    empty = [] if matrix.nnz else [_notice("empty_query", "No term has a weight above 0.")]
    return ReadQuery(matrix, "vector", empty)


def _row(terms: Sequence[int], weights: Sequence[float], n_terms: int) -> SparseMatrix:
    """A (1, n_terms) canonical matrix of distinct terms."""
    numbers = np.asarray(terms, np.int32)
    values = np.asarray(weights, np.float32)
    kept = np.flatnonzero(values > 0)
    order = kept[np.argsort(numbers[kept])]
    return sparse.csr_array(
        (values[order], numbers[order], np.array([0, len(order)], np.int32)), shape=(1, n_terms)
    )


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
    return [_notice("unknown_fields", message, missing[:MAX_LISTED])]


def _notice(code: str, message: str, values: Sequence[str] | None = None) -> dict[str, Any]:
    notice: dict[str, Any] = {"code": code, "message": message}
    if values is not None:
        notice["values"] = list(values)
    return notice


def _no_encoder(collection: Collection, kind: str) -> ProblemError:
    return ProblemError(
        "no_encoder",
        f"Index '{collection.name}' was built from vectors and names no encoder, so it cannot read "
        f"{kind}.",
        hint="Send query.vector, or serve the index with an encoder.",
        faults=[Fault(f"/query/{kind}", "this index answers vectors only")],
    )
