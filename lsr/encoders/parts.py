"""What an encoder is made of: the one place that looks inside every kind of them.

An encoder with a network may have BM25's words in columns behind it (`JoinedEncoder`); whoever asks
for its network, its tokenizer or its idf by these functions need not know.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .bm25 import BM25Encoder
from .inference_free import InferenceFreeEncoder
from .joined import JoinedEncoder
from .protocol import SparseEncoder
from .separate import SeparateEncoder
from .siamese import SpladeEncoder
from .side import NetworkSide
from .tokens import TextTokenizer

Network = SpladeEncoder | InferenceFreeEncoder | SeparateEncoder
"""What has a network and nothing else."""
Learned = Network | JoinedEncoder
"""What can give a document terms that its text does not say."""


def learned_part(encoder: SparseEncoder | None) -> Network | None:
    """The encoder with a network: itself, or the first part of a joined one; None for BM25."""
    if isinstance(encoder, JoinedEncoder):
        return encoder.learned
    return encoder if isinstance(encoder, Network) else None


def words_part(encoder: SparseEncoder | None) -> tuple[int, BM25Encoder] | None:
    """Number of the first word, and the BM25 that numbers the words from there; None without."""
    if isinstance(encoder, JoinedEncoder):
        return encoder.learned.n_terms, encoder.words
    return (0, encoder) if isinstance(encoder, BM25Encoder) else None


def with_text_fields(encoder: SparseEncoder, names: Sequence[str]) -> SparseEncoder:
    """The same encoder for documents whose text is in other fields, which it reads in this order.

    Its space stays. BM25 keeps the counts of what it was fitted to. Raises `UsageError`.

    >>> with_text_fields(BM25Encoder.fit(["a cat"]), ["body"]).text_fields
    ('body',)
    """
    wanted = tuple(dict.fromkeys(names))
    if not wanted:
        raise UsageError("wanted the name of at least one field to read, got none")
    if wanted == tuple(encoder.text_fields):
        return encoder
    if isinstance(encoder, BM25Encoder):
        other = copy.copy(encoder)
        other.text_fields = wanted
        return other
    if isinstance(encoder, Learned):
        return replace(encoder, card=replace(encoder.card, text_fields=wanted))
    raise UsageError(
        f"the encoder '{encoder.name}' is not one of ours and reads {encoder.text_fields}; let its "
        f"text_fields be {wanted}"
    )


def with_windows(encoder: SparseEncoder, overlap: int) -> SparseEncoder:
    """The same encoder, whose network reads long documents in windows that share `overlap` tokens.

    Its space stays. Raises `UsageError` where no network has a length limit.
    """
    network = learned_part(encoder)
    if network is None:
        raise UsageError(
            f"the encoder '{encoder.name}' has no network with a length limit, so no windows"
        )
    if isinstance(encoder, JoinedEncoder):
        card = replace(encoder.learned.card, window_overlap=overlap)
        return replace(encoder, learned=replace(encoder.learned, card=card))
    return replace(network, card=replace(network.card, window_overlap=overlap))


def document_network(encoder: SparseEncoder | None) -> NetworkSide | None:
    """What reads documents; None for BM25, and where only the query side is at hand."""
    part = learned_part(encoder)
    if part is None:
        return None
    return part.side if isinstance(part, SpladeEncoder) else part.documents


def query_tokenizer(encoder: SparseEncoder | None) -> TextTokenizer | None:
    """What cuts queries into numbered pieces; None for BM25, which reads words."""
    part = learned_part(encoder)
    if part is None:
        return None
    return part.side.tokenizer if isinstance(part, SpladeEncoder) else part.queries.tokenizer


def query_idf(
    encoder: SparseEncoder, terms: npt.NDArray[np.integer]
) -> npt.NDArray[np.float32] | None:
    """(len(terms),) what a query that says each term once gives it; None if a network decides."""
    if isinstance(encoder, BM25Encoder | InferenceFreeEncoder | JoinedEncoder):
        return encoder.idf(terms)
    return None


def word_terms(encoder: SparseEncoder, word: str) -> npt.NDArray[np.int32]:
    """The terms that a query which says this word has: words where the encoder has words (rare ones
    share a number), sub-words for a stop word of such an encoder and for all others.
    """
    words = words_part(encoder)
    if words is not None:
        first, bm25 = words
        numbers: npt.NDArray[np.int32] = bm25.encode_queries([word]).indices + first
        if first == 0 or len(numbers):
            return numbers
    found: npt.NDArray[np.int32] = (learned_part(encoder) or encoder).encode_queries([word]).indices
    return found
