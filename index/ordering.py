"""Which documents lie side by side: recursive graph bisection over their heaviest terms.

Similar documents in one block share terms, so its bounds are tight and searches skip more of them.
The algorithm is `core/bisection.hpp`; here a build decides what it may cost. The time is a limit:
what is not halved by then keeps its order. The memory decides how many terms of a document count.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from . import _core
from .effort import Effort
from .kernels import heaviest_terms
from .stored_vectors import Forward

ORDER_TERMS = 24
"""Against 16 terms, 24 leave 2 % fewer blocks to score of half a million passages, 32 another 2 %,
and every term costs 8 bytes a document (measured)."""
ORDER_TERMS_LEAST = 8
_CHUNK = 16_384


def ordered(
    rows: Callable[[int, int], Forward],
    n_docs: int,
    n_terms: int,
    effort: Effort,
    *,
    size: int = _CHUNK,
) -> npt.NDArray[np.uint32]:
    """order[position] = row, similar rows side by side; `rows(a, b)` are the vectors a..b-1,
    of which each thread asks for `size` at a time.

    The same for any number of threads, as long as the time and the memory suffice.
    """
    width, n_threads = affordable(n_docs, n_terms, effort)
    if not width:
        return np.arange(n_docs, dtype=np.uint32)
    heaviest = np.empty((n_docs, width), np.uint32)

    def choose(first: int) -> None:
        last = min(first + size, n_docs)
        part = rows(first, last)
        heaviest_terms(part.starts, part.terms, part.bits, n_terms, heaviest[first:last])

    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(choose, range(0, n_docs, size)):
            pass
    return _core.order_documents(heaviest, n_terms, n_threads, effort.seconds, effort.ordered)


def affordable(n_docs: int, n_terms: int, effort: Effort) -> tuple[int, int]:
    """(terms a document, threads) that the memory allows; no terms where not even 8 fit.

    A document costs its row twice and 33 bytes, a thread 20 bytes a term and 256 KiB.
    """
    n_threads = effort.n_threads
    if effort.memory is None:
        return ORDER_TERMS, n_threads
    a_thread = 20 * n_terms + 2**18
    n_threads = max(1, min(n_threads, effort.memory // 4 // a_thread))
    left = effort.memory - n_threads * a_thread
    width = min(ORDER_TERMS, (left // max(1, n_docs) - 33) // 8)
    return (width if width >= ORDER_TERMS_LEAST else 0), n_threads
