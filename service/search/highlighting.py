"""Where a stored text says what a query asks for: offsets and an excerpt, never markup."""

from collections.abc import Mapping, Sequence
from typing import Any

from lsr.encoders import SparseEncoder, said
from lsr.types import Document, SparseMatrix

from ..collection import Collection
from ..wire.search import Highlight
from .explaining import MAX_CHARS

MAX_SPANS = 1000
"""Spans of one field; a text that says more of the query is well understood by the first ones."""

Match = tuple[int, int, tuple[int, ...]]
"""Characters [start, end) and the terms they say."""


def highlights(
    collection: Collection,
    query: SparseMatrix,
    document: Document,
    wanted: Highlight,
    origins: Mapping[int, tuple[int, int]] | None,
) -> list[dict[str, Any]]:
    """As `wire.answers.FieldHighlight` describes it, for each wanted field that is a text.

    `origins` are those that `lsr index --origins` stored for the document, if it did.
    """
    encoder = collection.encoder
    if encoder is None:
        return []
    weights = dict(zip(query.indices.tolist(), query.data.tolist(), strict=True))
    learned = expansions(document, encoder.text_fields, origins or {}, weights)
    found = []
    for name in wanted.fields:
        text = document.fields.get(name)
        if not isinstance(text, str) or not text or len(text) > MAX_CHARS:
            continue
        literal = matches_in(encoder, text, weights)
        expanded = learned.get(name, [])
        start, end = excerpt(text, sorted(literal + expanded), weights, wanted.max_chars)
        spans = [
            {"start": a, "end": b, "terms": encoder.term_strings(terms), "origin": origin}
            for origin, matches in (("literal", literal), ("expansion", expanded))
            for a, b, terms in matches
        ]
        found.append(
            {
                "field": name,
                "start": start,
                "end": end,
                "text": text[start:end],
                "spans": sorted(spans, key=lambda one: (one["start"], one["end"])),
            }
        )
    return found


def expansions(
    document: Document,
    names: Sequence[str],
    origins: Mapping[int, tuple[int, int]],
    weights: Mapping[int, float],
) -> dict[str, list[Match]]:
    """By field, the stretches that gave terms of the query which the text does not say.

    Origins count characters of the document's text, its fields one after another.

    >>> document = Document("d", {"title": "Cats", "text": "they purr"})
    >>> expansions(document, ("title", "text"), {7: (10, 14), 8: (0, 4)}, {7: 1.0})
    {'text': [(5, 9, (7,))]}
    """
    terms_of: dict[tuple[int, int], list[int]] = {}
    for term, span in origins.items():
        if term in weights:
            terms_of.setdefault(span, []).append(term)
    found: dict[str, list[Match]] = {}
    begin = 0
    for name in names:
        value = document.fields.get(name)
        if not isinstance(value, str) or not value:
            continue
        for (start, end), terms in sorted(terms_of.items()):
            if begin <= start < end <= begin + len(value):
                found.setdefault(name, []).append((start - begin, end - begin, tuple(terms)))
        begin += len(value) + 1
    return found


def matches_in(encoder: SparseEncoder, text: str, weights: dict[int, float]) -> list[Match]:
    """What of `text` says a term of the query; pieces of one word are one match."""
    matches: list[Match] = []
    for term, start, end in said(encoder, text) or ():
        if term not in weights:
            continue
        if matches and matches[-1][1] >= start:
            first, last, terms = matches[-1]
            matches[-1] = (first, max(last, end), terms if term in terms else (*terms, term))
        elif len(matches) == MAX_SPANS:
            break
        else:
            matches.append((start, end, (term,)))
    return matches


def excerpt(
    text: str, matches: Sequence[Match], weights: dict[int, float], length: int
) -> tuple[int, int]:
    """The stretch of at most `length` characters that says most of the query's weight.

    It begins and ends between words where it can.

    >>> excerpt("a cat sat on a mat, a dog barked", [(22, 25, (1,))], {1: 1.0}, 15)
    (20, 32)
    """
    if len(text) <= length:
        return 0, len(text)
    best, extent = -1.0, (0, 0)
    inside: dict[int, int] = {}
    weight = 0.0
    first = 0
    for start, end, terms in matches:
        for term in terms:
            inside[term] = inside.get(term, 0) + 1
            weight += weights[term] if inside[term] == 1 else 0.0
        while end - matches[first][0] > length and matches[first][0] < start:
            for term in matches[first][2]:
                inside[term] -= 1
                weight -= weights[term] if inside[term] == 0 else 0.0
            first += 1
        if weight > best * (1 + 1e-9):  # the earliest of equals
            best, extent = weight, (matches[first][0], end)
    spare = max(0, length - (extent[1] - extent[0]))
    begin = max(0, min(extent[0] - spare // 2, len(text) - length))
    if begin and (gap := text.find(" ", begin - 1, extent[0])) >= 0:
        begin = gap + 1
    end = min(len(text), begin + length)
    if end < len(text) and (gap := text.rfind(" ", extent[1], end + 1)) >= 0:
        end = gap
    return begin, end
