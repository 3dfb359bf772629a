"""Which terms of an encoder a text itself says, and where: no network, no vectors.

A term of a document vector is *literal* where the text says it and an *expansion* where it does
not. Both questions, and the words to underline in a hit, are answered by the tokenizer alone.
"""

from typing import NamedTuple

from .bm25 import BM25Encoder
from .inference_free import InferenceFreeEncoder
from .joined import JoinedEncoder
from .parts import document_network, learned_part, query_tokenizer
from .protocol import SparseEncoder
from .separate import SeparateEncoder
from .siamese import SpladeEncoder
from .side import TransformerSide
from .tokens import TextTokenizer
from .windows import read_by


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
    if isinstance(encoder, JoinedEncoder):
        first = encoder.learned.n_terms
        words = [Said(first + t, start, end) for t, start, end in encoder.words.places(text)]
        return sorted((said(encoder.learned, text) or []) + words, key=lambda one: one[1:])
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


def cut_off(encoder: SparseEncoder, text: str, *, document: bool) -> bool | None:
    """Whether the encoder reads only the beginning of a query or a document of this text.

    None where nobody can tell: of documents when the encoder holds the query side alone.
    """
    if isinstance(encoder, BM25Encoder):
        return False
    part = learned_part(encoder)  # words beside it are read to the end, the network is not
    if part is None:
        return None
    settings = part.settings
    if document:
        if part.card.window_overlap is not None:
            return False
        side = document_network(part)
        if side is None:
            return None
        return _too_long(read_by(side), settings.document_prompt + text, framed=True)
    if isinstance(part, InferenceFreeEncoder):
        return _too_long(part.queries.tokenizer, settings.query_prompt + text, framed=False)
    side = part.side if isinstance(part, SpladeEncoder) else part.queries
    return _too_long(read_by(side), settings.query_prompt + text, framed=True)


def _too_long(tokenizer: TextTokenizer, text: str, *, framed: bool) -> bool:
    limit = tokenizer.max_length
    # A token stands for one byte at least.
    if limit is None or len(text) * 4 + (tokenizer.n_special if framed else 0) <= limit:
        return False
    return bool(tokenizer.encoding(text, special=framed).overflowing)


def _tokenizer(encoder: SparseEncoder) -> TextTokenizer | None:
    """What numbers the terms of this encoder; None where terms are latent."""
    if isinstance(encoder, SpladeEncoder | SeparateEncoder):
        side = encoder.side if isinstance(encoder, SpladeEncoder) else encoder.queries
        if isinstance(side, TransformerSide) and side.buckets is not None:
            return None
    return query_tokenizer(encoder)
