"""The terms behind a score, adding up to it exactly, and where a document has them from."""

from collections.abc import Sequence
from typing import Any

from index import Explanation
from lsr.encoders import said
from lsr.types import Document

from ..collection import Collection

MAX_CHARS = 1_000_000
"""Texts longer than this are not read again: their terms have the origin `unavailable`."""


def said_terms(
    collection: Collection, document: Document, span: tuple[int, int] | None
) -> frozenset[int] | None:
    """The terms that a document (or its passage at `span`) says; None where nobody can tell."""
    if collection.encoder is None:
        return None
    text = document.text(collection.encoder.text_fields)
    if span is not None:
        text = text[slice(*span)]
    if len(text) > MAX_CHARS:
        return None
    found = said(collection.encoder, text)
    return None if found is None else frozenset(one.term for one in found)


def passage(
    span: tuple[int, int], collection: Collection, document: Document | None
) -> dict[str, Any]:
    """As `wire.answers.PassageSpan`; without text where no `document` is given."""
    start, end = span
    told: dict[str, Any] = {"start": start, "end": end}
    if document is not None and collection.encoder is not None:
        told["text"] = document.text(collection.encoder.text_fields)[start:end]
    return told


def origin_of(term: int, spoken: frozenset[int] | None) -> str:
    """Whether a term is in the text, or learned."""
    if spoken is None:
        return "unavailable"
    return "literal" if term in spoken else "expansion"


def names_of(collection: Collection, terms: Sequence[int]) -> Sequence[str | None]:
    """Vocabulary entries, None for each where no encoder names them."""
    if collection.encoder is None:
        return [None] * len(terms)
    return collection.encoder.term_strings(terms)


def explanation(
    collection: Collection,
    explained: Explanation,
    *,
    spoken: frozenset[int] | None,
    unit: float,
    ranked: int,
    top_terms: int | None,
) -> dict[str, Any]:
    """As `wire.answers.HitExplanation` describes it; `ranked` is the integer score of the hit."""
    listed = explained.terms if top_terms is None else explained.terms[:top_terms]
    rest = explained.terms[len(listed) :]
    points = sum(one.points for one in rest)
    return {
        "terms": [
            {
                "term": name,
                "index": one.term,
                "query": one.query_weight,
                "doc": one.doc_weight,
                "score": one.score,
                "points": one.points,
                "share": one.share,
                "origin": origin_of(one.term, spoken),
            }
            for name, one in zip(
                names_of(collection, [one.term for one in listed]), listed, strict=True
            )
        ],
        "other": {"terms": len(rest), "score": points * unit, "points": points},
        "sum": explained.score,
        "unit": unit,
        "exact_sum": sum(one.points for one in explained.terms) == ranked,
    }
