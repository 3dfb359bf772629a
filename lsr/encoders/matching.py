"""Which terms of an encoder a text itself says, and where: no network, no vectors.

A term of a document vector is *literal* where the text says it and an *expansion* where it does
not. Both questions, and the words to underline in a hit, are answered by the tokenizer alone.
"""

from typing import NamedTuple

from .bm25 import BM25Encoder
from .inference_free import InferenceFreeEncoder
from .protocol import SparseEncoder
from .separate import SeparateEncoder
from .siamese import SpladeEncoder
from .side import TransformerSide
from .tokens import TextTokenizer


class Said(NamedTuple):
    """A term and the characters [start, end) of the text that say it."""

    term: int
    start: int
    end: int


def said(encoder: SparseEncoder, text: str) -> list[Said] | None:
    """Every term that `text` says, in order; None where terms are no words (latent terms).

    Offsets count Unicode code points. However long the text is, all of it is read: what a network
    would have cut off counts as said.

    >>> encoder = BM25Encoder.fit(["cats sleep", "a dog"])
    >>> found = said(encoder, "A cat's dog is sleeping")
    >>> [(*encoder.term_strings([one.term]), one.start, one.end) for one in found]
    [('cat', 2, 7), ('dog', 8, 11), ('sleep', 15, 23)]
    """
    if isinstance(encoder, BM25Encoder):
        return [Said(*place) for place in encoder.places(text)]
    tokenizer = _tokenizer(encoder)
    if tokenizer is None:
        return None
    encoding = tokenizer.encoding(text)
    found = []
    for part in (encoding, *encoding.overflowing):
        for term, (start, end) in zip(part.ids, part.offsets, strict=True):
            while start < end and text[start].isspace():  # some tokens begin with their space
                start += 1
            if start < end:
                found.append(Said(term, start, end))
    return found


def _tokenizer(encoder: SparseEncoder) -> TextTokenizer | None:
    """What numbers the terms of this encoder; None where terms are latent."""
    if isinstance(encoder, InferenceFreeEncoder):
        return encoder.queries.tokenizer
    if isinstance(encoder, SpladeEncoder | SeparateEncoder):
        side = encoder.side if isinstance(encoder, SpladeEncoder) else encoder.queries
        if isinstance(side, TransformerSide) and side.buckets is not None:
            return None
        return side.tokenizer
    return None
