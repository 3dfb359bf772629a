"""Where a stored text says what a query asks for: offsets and an excerpt, never markup."""

from collections.abc import Mapping, Sequence
from typing import Any

from lsr.encoders import SparseEncoder, said
from lsr.types import SparseMatrix

from ..engine import Collection
from ..wire.search import Highlight
from .explaining import MAX_CHARS

MAX_SPANS = 1000
"""Spans of one field; a text that says more of the query is well understood by the first ones."""

Match = tuple[int, int, tuple[int, ...]]
"""Characters [start, end) and the terms they say."""


def highlights(
    collection: Collection, query: SparseMatrix, fields: Mapping[str, Any], wanted: Highlight
) -> list[dict[str, Any]]:
    """As `wire.answers.FieldHighlight` describes it, for each wanted field that is a text."""
    if collection.encoder is None:
        return []
    weights = dict(zip(query.indices.tolist(), query.data.tolist(), strict=True))
    found = []
    for name in wanted.fields:
        text = fields.get(name)
        if not isinstance(text, str) or not text or len(text) > MAX_CHARS:
            continue
        matches = matches_in(collection.encoder, text, weights)
        start, end = excerpt(text, matches, weights, wanted.max_chars)
        found.append(
            {
                "field": name,
                "start": start,
                "end": end,
                "text": text[start:end],
                "spans": [
                    {
                        "start": first,
                        "end": last,
                        "terms": collection.encoder.term_strings(terms),
                        "origin": "literal",
                    }
                    for first, last, terms in matches
                ],
            }
        )
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
