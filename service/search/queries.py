"""The query of a request as weights by term number: of a text, tokens, a vector or a document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from index import MAX_QUERY_TERMS
from lsr.encoders import cut_off, query_idf
from lsr.errors import UsageError
from lsr.types import SparseMatrix

from ..collection import Collection
from ..outgrown import CODE as OUTGROWN
from ..outgrown import REMEDY, outgrown
from ..problems import Fault, ProblemError
from ..restricted import RestrictedIndex
from ..wire.queries import Like, QueryInput, Vector

MAX_LISTED = 20
"""Values listed in one warning."""


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """A query as a (1, n_terms) matrix, and how it came about."""

    matrix: SparseMatrix
    strategy: str
    warnings: list[dict[str, Any]]
    truncated: bool | None = None
    """Whether only the beginning of a text was read; None where there is no text."""
    skip: str | None = None
    """The document that the query was made of, which is not among its own hits."""


def notice(code: str, message: str, values: Sequence[str] | None = None) -> dict[str, Any]:
    """A warning, as `wire.answers.Notice` describes it."""
    notice: dict[str, Any] = {"code": code, "message": message}
    if values is not None:
        notice["values"] = list(values)
    return notice


def read_query(collection: Collection, query: QueryInput, *, at: int | None = None) -> ReadQuery:
    """The query's weights by term number; a document's are those of commit `at`.

    Raises `ProblemError` if this index cannot read it, `SnapshotGone` if that is out of reach.
    """
    if query.text is not None:
        read = _from_text(collection, query.text)
    elif query.tokens is not None:
        read = _from_tokens(collection, query.tokens)
    elif query.vector is not None:
        read = _from_vector(collection, query.vector)
    else:
        like = query.like
        assert like is not None
        read = _from_document(collection, Like(id=like) if isinstance(like, str) else like, at)
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
        warnings.append(notice("empty_query", "The query is empty, so nothing can match it."))
    elif not matrix.nnz:
        warnings.append(
            notice(
                "no_known_terms",
                "No word of the query carries weight (all unknown or stop words), "
                "so nothing can match it.",
            )
        )
    truncated = cut_off(collection.encoder, text, document=False)
    if truncated:
        warnings.append(
            notice(
                "truncated_query",
                "The query is longer than the encoder reads; only its beginning counts.",
            )
        )
    # A key with a filter does not learn how many documents there are that it may not see.
    if not isinstance(collection.index, RestrictedIndex):
        told = outgrown(collection.encoder, collection.index.n_docs)
        warnings += [] if told is None else [notice(OUTGROWN, f"{told}; {REMEDY}")]
    return ReadQuery(matrix, collection.encoder.query_strategy, warnings, truncated)


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
            notice(
                "unknown_tokens",
                f"{len(unknown)} of {len(tokens)} tokens are no entries of the encoder's "
                "vocabulary and were left out; send text to have it analysed.",
                unknown[:MAX_LISTED],
            )
        )
    elif not matrix.nnz:
        warnings.append(notice("empty_query", "No token has a weight above 0."))
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
    empty = [] if matrix.nnz else [notice("empty_query", "No term has a weight above 0.")]
    return ReadQuery(matrix, "vector", empty)


def _from_document(collection: Collection, like: Like, at: int | None) -> ReadQuery:
    """The heaviest terms of a stored vector, as a query would weigh them.

    Where queries weigh a term by a table (BM25's idf, an inference-free encoder's), so does this
    one: a word that every document has says as little here as in a text.
    """
    try:
        rows = collection.index.vectors_of(like.id, at=at)
    except UsageError:
        raise ProblemError(
            "unknown_document",
            f"Index '{collection.name}' holds no document with the id '{like.id[:100]}'.",
            hint="query.like takes the id of a document of the index that is searched.",
            faults=[Fault("/query/like", "no such document", like.id[:100])],
        ) from None
    weights = rows.max(axis=0).toarray().ravel() if rows.shape[0] > 1 else None
    terms = rows.indices if weights is None else np.flatnonzero(weights)
    values = rows.data if weights is None else weights[terms]
    idf = None if collection.encoder is None else query_idf(collection.encoder, terms)
    values = values if idf is None else values * idf
    warnings = []
    n_given = int(np.count_nonzero(values))
    if n_given > like.terms:
        heaviest = np.lexsort((terms, -values))[: like.terms]
        terms, values = terms[heaviest], values[heaviest]
        warnings.append(
            notice(
                "shortened_query",
                f"The {like.terms} heaviest of the document's {n_given} terms stand for it.",
            )
        )
    matrix = _row(terms, values, collection.index.n_terms)
    if not matrix.nnz:
        warnings.append(notice("empty_query", "The document has no terms, so nothing is like it."))
    return ReadQuery(matrix, "like", warnings, skip=like.id)


def _row(
    terms: Sequence[int] | npt.NDArray[np.integer],
    weights: Sequence[float] | npt.NDArray[np.floating],
    n_terms: int,
) -> SparseMatrix:
    """A (1, n_terms) canonical matrix of distinct terms."""
    numbers = np.asarray(terms, np.int32)
    values = np.asarray(weights, np.float32)
    kept = np.flatnonzero(values > 0)
    order = kept[np.argsort(numbers[kept])]
    return sparse.csr_array(
        (values[order], numbers[order], np.array([0, len(order)], np.int32)), shape=(1, n_terms)
    )


def _no_encoder(collection: Collection, kind: str) -> ProblemError:
    return ProblemError(
        "no_encoder",
        f"Index '{collection.name}' was built from vectors and names no encoder, so it cannot read "
        f"{kind}.",
        hint="Send query.vector, or serve the index with an encoder.",
        faults=[Fault(f"/query/{kind}", "this index answers vectors only")],
    )


def report(collection: Collection, query: ReadQuery) -> dict[str, Any]:
    """How the query was read, as `wire.answers.QueryReport` describes it."""
    told: dict[str, Any] = {
        "encoder": collection.encoder_label,
        "strategy": query.strategy,
        "terms_used": int(query.matrix.nnz),
    }
    if query.truncated is not None:
        told["truncated"] = query.truncated
    return told
