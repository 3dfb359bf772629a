"""Which documents of a segment a search may return, as the core reads it: a bit a position.

Word b is uint32 and stands for block b: bit i for position 32 b + i. So a block without a live
document is a zero word, and filters, deletes and required terms combine by `&`. Bits beyond the
last document are 0.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

Live = npt.NDArray[np.uint32]
"""(ceil(n_docs / 32),) words; None in its place means every document."""


def n_words(n_docs: int) -> int:
    """Words for so many positions."""
    return -(-n_docs // 32)


def everything(n_docs: int) -> Live:
    """All documents live.

    >>> everything(33)
    array([4294967295,          1], dtype=uint32)
    """
    words = np.full(n_words(n_docs), 0xFFFFFFFF, np.uint32)
    if n_docs % 32:
        words[-1] = (1 << (n_docs % 32)) - 1
    return words


def pack(chosen: npt.NDArray[np.bool_] | npt.NDArray[np.uint8]) -> Live:
    """Words of a mask with one entry a position, live where it is not zero.

    >>> pack(np.array([1, 0, 1], np.uint8))
    array([5], dtype=uint32)
    """
    padded = np.zeros(4 * n_words(len(chosen)), np.uint8)
    bits = np.packbits(chosen, bitorder="little")
    padded[: len(bits)] = bits
    return padded.view("<u4").astype(np.uint32, copy=False)


def unpack(words: Live, n_docs: int) -> npt.NDArray[np.bool_]:
    """Inverse of `pack`: (n_docs,) true where a position is live."""
    bits = np.unpackbits(words.astype("<u4", copy=False).view(np.uint8), bitorder="little")
    return bits[:n_docs].view(np.bool_)


def positions_in(words: Live | None, n_docs: int) -> npt.NDArray[np.int64]:
    """The live positions, ascending."""
    return np.arange(n_docs) if words is None else np.flatnonzero(unpack(words, n_docs))


def holds(words: Live | None, position: int) -> bool:
    """Whether a position is live.

    >>> holds(pack(np.array([1, 0], np.uint8)), 1), holds(None, 1)
    (False, True)
    """
    return words is None or bool(words[position // 32] >> np.uint32(position % 32) & np.uint32(1))


def count(words: Live | None, n_docs: int) -> int:
    """How many documents live."""
    return n_docs if words is None else int(np.bitwise_count(words).sum())


def without(words: Live | None, dead: npt.NDArray[np.integer], n_docs: int) -> Live:
    """A copy in which the positions `dead` are not live."""
    left = everything(n_docs) if words is None else words.copy()
    bits = np.left_shift(np.uint32(1), (dead % 32).astype(np.uint32))
    np.bitwise_and.at(left, dead // 32, ~bits)
    return left


def including(words: Live | None, back: npt.NDArray[np.integer], n_docs: int) -> Live | None:
    """A copy in which the positions `back` are live as well; None when all are."""
    if words is None:
        return None
    more = words.copy()
    bits = np.left_shift(np.uint32(1), (back % 32).astype(np.uint32))
    np.bitwise_or.at(more, back // 32, bits)
    return None if count(more, n_docs) == n_docs else more


MAX_VALUES = 600_000
"""Values of all keys of one cache, each counted at every level of its filter: two lists of the
greatest length, below a key's filter. One takes some 90 bytes."""


class WordsCache:
    """The words last asked for by their keys, at most `limit`: then 1 / 8 byte a document each.

    Keys that hold many values take more room than words, so those kept have `MAX_VALUES` together.
    Safe between threads; whoever takes words from it must not write to them.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._kept: OrderedDict[Hashable, tuple[Live, int]] = OrderedDict()
        self._n_values = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Live | None:
        """The words kept under a key, None when there are none."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def keep(self, key: Hashable, words: Live, *, n_values: int = 0) -> None:
        """Keep words, read-only from now on, under a key that holds so many values; let go of those
        that nobody asked for longest.
        """
        words.setflags(write=False)
        with self._lock:
            self._n_values += n_values - self._kept.pop(key, (words, 0))[1]
            self._kept[key] = words, n_values
            while len(self._kept) > self._limit or self._n_values > MAX_VALUES:
                self._n_values -= self._kept.popitem(last=False)[1][1]
