"""Batches of similar length under a token budget, results back in the order of the input.

Padding is what batches of mixed length waste: sorted by length, a batch pads almost nothing. The
longest texts come first, so that a batch that does not fit into memory fails at once.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ..progress import Bar, bar
from ..types import SparseMatrix
from .counting import require_texts

_WINDOW = 16_384  # texts tokenised and sorted together; bounds memory, loses no measurable padding
MAX_BATCH = 256

Tokens = Sequence[Sequence[int]]


def plan(lengths: Sequence[int], *, token_budget: int) -> list[npt.NDArray[np.int64]]:
    """Group positions so that a batch, padded to its longest, holds at most `token_budget` tokens.

    A single text longer than the budget is a batch of its own.

    >>> [batch.tolist() for batch in plan([2, 9, 3, 8], token_budget=18)]
    [[1, 3], [2, 0]]
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches: list[npt.NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        size = min(MAX_BATCH, max(1, token_budget // longest))
        batches.append(order[start : start + size])
        start += size
    return batches


def encode_sorted(
    texts: Sequence[str],
    *,
    tokenise: Callable[[Sequence[str]], Tokens],
    forward: Callable[[Tokens], SparseMatrix],
    n_terms: int,
    token_budget: int,
    progress: bool,
    callers: int = 1,
) -> SparseMatrix:
    """Rows of `forward(tokens)` for every text, in the order of `texts`.

    A text whose token list is empty is an empty row and never reaches `forward`, which so many
    threads call at once as there are `callers`.
    """
    require_texts(texts)
    windows: list[SparseMatrix] = []
    done: Bar[None] = bar(total=len(texts), unit="texts", desc="encode", quiet=not progress or None)
    with done:
        for window in _windows(texts):
            windows.append(
                _encode_window(
                    tokenise(window), forward, n_terms, token_budget, done.update, callers
                )
            )
    return _stack(windows, n_terms)


def _encode_window(
    tokens: Tokens,
    forward: Callable[[Tokens], SparseMatrix],
    n_terms: int,
    token_budget: int,
    report: Callable[[int], None],
    callers: int,
) -> SparseMatrix:
    full = [i for i, ids in enumerate(tokens) if len(ids)]
    report(len(tokens) - len(full))
    parts: list[SparseMatrix] = []
    order: list[int] = [i for i, ids in enumerate(tokens) if not len(ids)]
    parts.append(empty(len(order), n_terms))
    batches = [
        [full[i] for i in batch]
        for batch in plan([len(tokens[i]) for i in full], token_budget=token_budget)
    ]
    encoded = _mapped(lambda batch: forward([tokens[i] for i in batch]), batches, callers)
    for batch, part in zip(batches, encoded, strict=True):
        parts.append(part)
        order.extend(batch)
        report(len(batch))
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.arange(len(order))
    rows: SparseMatrix = _stack(parts, n_terms)[inverse]
    return rows


def _mapped(
    forward: Callable[[list[int]], SparseMatrix], batches: Sequence[list[int]], callers: int
) -> Iterator[SparseMatrix]:
    """`forward` of every batch, in their order. What fails or is interrupted starts no other."""
    if min(callers, len(batches)) <= 1:
        yield from map(forward, batches)
        return
    with ThreadPoolExecutor(callers) as pool:
        yield from pool.map(forward, batches)


def padded(tokens: Tokens, pad_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Two (batch, longest) int64 arrays: token numbers, and 1 for every one that is no padding.

    >>> [a.tolist() for a in padded([[5, 6], [7]], 0)]
    [[[5, 6], [7, 0]], [[1, 1], [1, 0]]]
    """
    longest = max(1, max(map(len, tokens)))
    ids = np.full((len(tokens), longest), pad_id, np.int64)
    mask = np.zeros((len(tokens), longest), np.int64)
    for row, numbers in enumerate(tokens):
        ids[row, : len(numbers)] = numbers
        mask[row, : len(numbers)] = 1
    return ids, mask


def empty(n_rows: int, n_terms: int) -> SparseMatrix:
    """Rows without any weight."""
    nothing = np.empty(0, np.float32)
    offsets = np.zeros(n_rows + 1, np.int32)
    return sparse.csr_array((nothing, nothing.astype(np.int32), offsets), shape=(n_rows, n_terms))


def _stack(parts: Sequence[SparseMatrix], n_terms: int) -> SparseMatrix:
    if not parts:
        return empty(0, n_terms)
    if len(parts) == 1:
        return parts[0]
    stacked: SparseMatrix = sparse.vstack(parts, format="csr", dtype=np.float32)
    return stacked


def _windows(texts: Sequence[str]) -> Iterator[list[str]]:
    stream = iter(texts)
    while window := list(islice(stream, _WINDOW)):
        yield window


def keep_largest(rows: SparseMatrix, k: int) -> SparseMatrix:
    """Keep the k largest weights of each row, the smaller term number first among equals."""
    n_kept = np.minimum(np.diff(rows.indptr), k)
    if n_kept.sum() == rows.nnz:
        return rows
    row_of = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    order = np.lexsort((rows.indices, -rows.data, row_of))
    rank = np.arange(rows.nnz) - rows.indptr[row_of]
    kept = np.sort(order[rank < k])
    offsets = np.concatenate([[0], np.cumsum(n_kept)]).astype(rows.indptr.dtype)
    return sparse.csr_array((rows.data[kept], rows.indices[kept], offsets), shape=rows.shape)
