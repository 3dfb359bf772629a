"""Long documents: overlapping pieces that each fit the network, and the maximum over pieces.

A piece is a stretch of the text itself, cut where a word begins, so that every network encodes it
as it does a short document: prompt, special tokens and all. A document that fits is one piece.
The maximum over pieces keeps a term that is in the tail alone; it is what max-pooling would take
over all positions if the network could read them at once, save that a piece is read without the
others.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ..errors import EncoderError
from ..types import SparseMatrix
from .batching import keep_largest
from .side import NetworkSide, TransformerSide
from .tokens import TextTokenizer

Span = tuple[int, int]
"""First character and the one after the last."""


def pieces(
    texts: Sequence[str], tokenizer: TextTokenizer, *, prompt: str = "", overlap: int
) -> list[list[Span]]:
    """For each text the stretches to encode, in order, covering it all.

    Each has at most `tokenizer.max_length` tokens with `prompt` and special tokens; neighbours
    share about `overlap` tokens, up to the beginning of a word. A word too long for a piece is cut.
    """
    whole = [[(0, len(text))] for text in texts]
    if tokenizer.max_length is None:
        return whole
    unlimited = tokenizer.limited(None)
    framing = len(unlimited.ids([prompt], special=True)[0])
    room = tokenizer.max_length - framing
    if not 0 <= overlap < room:
        raise EncoderError(
            f"windows overlap by {overlap} tokens, but {tokenizer.max_length} tokens with "
            f"{framing} of prompt and frame have room for {max(room, 0)}; choose a smaller overlap"
        )
    lengths = [len(ids) for ids in unlimited.ids(texts, special=False)]
    for number, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        if length > room:
            whole[number] = _split(text, unlimited, room, overlap)
    return whole


def _split(text: str, tokenizer: TextTokenizer, room: int, overlap: int) -> list[Span]:
    encoding = tokenizer.encoding(text)
    words, offsets = encoding.word_ids, encoding.offsets
    n_tokens = len(offsets)

    def begins_word(token: int) -> bool:
        return words[token] is None or words[token] != words[token - 1]

    spans: list[Span] = []
    first = previous = 0  # the first token of this piece, the token after the last piece
    while True:
        last = min(first + room, n_tokens)  # the token after this piece
        start = offsets[first][0] if first else 0
        while last < n_tokens and last > first + 1 + room // 2 and not begins_word(last):
            last -= 1
        # A stretch may have more tokens alone than in its text, where words are read in context.
        while True:
            end = offsets[last][0] if last < n_tokens else len(text)
            excess = len(tokenizer.ids([text[start:end]], special=False)[0]) - room
            if excess <= 0 or last - first <= 1:
                break
            last = max(first + 1, last - excess)
        if last <= previous:  # inside the last piece: go on without an overlap
            first = previous
            continue
        spans.append((start, end))
        if last >= n_tokens:
            return spans
        following = max(first + 1, last - overlap)
        while following > first + 1 and not begins_word(following):
            following -= 1
        # Without a word's beginning in the overlap, the next piece starts where this one ends.
        first, previous = (following if begins_word(following) else last), last


def encode_documents(
    side: NetworkSide,
    texts: Sequence[str],
    *,
    prompt: str,
    top_k: int | None,
    overlap: int | None,
    progress: bool,
) -> SparseMatrix:
    """(len(texts), n_terms) weights: cut at the length limit, or in windows if `overlap` is given.

    `overlap` is how many tokens neighbouring windows share. `top_k` holds for the whole document.
    """
    if overlap is None:
        return side.encode(texts, prompt=prompt, top_k=top_k, progress=progress)
    spans = pieces(texts, read_by(side), prompt=prompt, overlap=overlap)
    cut = [text[a:b] for text, own in zip(texts, spans, strict=True) for a, b in own]
    if len(cut) == len(texts):
        return side.encode(texts, prompt=prompt, top_k=top_k, progress=progress)
    rows = side.encode(cut, prompt=prompt, top_k=None, progress=progress)
    owner = np.repeat(np.arange(len(texts)), [len(own) for own in spans])
    rows = maximum(rows, owner, len(texts))
    return rows if top_k is None else keep_largest(rows, top_k)


def read_by(side: NetworkSide) -> TextTokenizer:
    """The tokenizer with the length limit that the network keeps to."""
    return side.model.tokenizer if isinstance(side, TransformerSide) else side.tokenizer


def maximum(rows: SparseMatrix, group: npt.NDArray[np.int64], n_groups: int) -> SparseMatrix:
    """(n_groups, n_terms): the largest weight of each term over the rows of each group.

    `group` (n_rows,) does not decrease. A group without rows is an empty row.

    >>> from scipy import sparse
    >>> rows = sparse.csr_array([[1.0, 0, 2], [3, 0, 1], [0, 4, 0]])
    >>> maximum(rows, np.array([0, 0, 1]), 2).toarray().tolist()
    [[3.0, 0.0, 2.0], [0.0, 4.0, 0.0]]
    """
    owner = group[np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))]
    order = np.lexsort((rows.indices, owner))
    owner, terms, weights = owner[order], rows.indices[order], rows.data[order]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (owner[1:] != owner[:-1]) | (terms[1:] != terms[:-1])
    starts = np.flatnonzero(fresh)
    largest = np.maximum.reduceat(weights, starts) if len(starts) else weights
    counts = np.bincount(owner[starts], minlength=n_groups)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    merged: SparseMatrix = sparse.csr_array(
        (largest, terms[starts], offsets), shape=(n_groups, rows.shape[1])
    )
    return merged
