"""Words of a query that no document answers, though other words of it are answered."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import _printing as out

if TYPE_CHECKING:
    from index import Index
    from lsr.encoders import SparseEncoder
    from lsr.types import SparseMatrix

_SHOWN = 8
_LIGHT = 0.25
"""Words that weigh less than this share of the query's average are not told: learned encoders give
"the" to no document, and next to nothing in a query. Of 329 questions about Python seven have a
word that lsr-mini has in no docstring; the lightest weighs 1.1 averages."""


def note_unmatched(
    index: "Index", encoder: "SparseEncoder", texts: Sequence[str], vectors: "SparseMatrix"
) -> None:
    """Tell of the words whose terms are in no document, all texts in one line."""
    found = [
        word
        for row, text in enumerate(texts)
        for word in _unmatched(index, encoder, text, vectors[[row], :])
    ]
    words = list(dict.fromkeys(found))
    if words:
        more = f", {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
        which = "this word" if len(words) == 1 else "these words"
        shown = ", ".join(map(out.printable, words[:_SHOWN]))
        out.note("unmatched", f"{shown}{more}: no document has a term of {which}")


def _unmatched(
    index: "Index", encoder: "SparseEncoder", text: str, vector: "SparseMatrix"
) -> list[str]:
    from ..encoders import query_tokenizer, said

    places = said(encoder, text) or []
    runs = [(match.start(), match.end()) for match in re.finditer(r"\w+", text)]
    words = [[one for one in places if a <= one.start < b] for a, b in runs]
    words = [word for word in words if word]
    if not words:
        return []
    tokenizer = query_tokenizer(encoder)
    unknown = set() if tokenizer is None else set(tokenizer.special_ids())  # [UNK] weighs nothing
    weight = dict(zip(vector.indices.tolist(), vector.data.tolist(), strict=True))
    least = _LIGHT * sum(weight.values()) / len(words)
    terms = list(dict.fromkeys(one.term for word in words for one in word))
    matched = {term for term, most in zip(terms, index.heaviest(terms), strict=True) if most}
    told = []
    for word in words:
        said_by = {one.term for one in word}
        heavy = sum(weight.get(term, 0.0) for term in said_by) >= least or said_by <= unknown
        if heavy and not said_by & matched:
            told.append(text[word[0].start : max(one.end for one in word)])
    return told
