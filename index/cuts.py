"""Where list pruning cuts each posting list: found once over all documents, then kept for good.

A cut is the weight and the document of the last posting that stays: heavier postings stay, as heavy
ones of earlier documents too. So it is the same whatever runs and merges the documents went
through, and applying it twice drops nothing more.

Found without holding a list: float16 weights order like 15-bit numbers, so one pass counts upper
bits, a second the lower ones below the upper bits of the cut, a third the ties. Terms go in ranges
whose counters fit the memory given.
"""

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .stored_vectors import Forward

_DIGITS = 256


@dataclass(frozen=True, slots=True)
class Cuts:
    """(n_terms,) float16 bits and docids of the last posting that each list keeps."""

    bits: npt.NDArray[np.uint16]
    docids: npt.NDArray[np.uint32]

    def to_json(self) -> dict[str, str]:
        """For the catalog."""
        return {name: _packed(getattr(self, name).astype(kind)) for name, kind in _KINDS.items()}

    @classmethod
    def from_json(cls, stored: dict[str, str]) -> "Cuts":
        """From the catalog."""
        return cls(*(_unpacked(stored[name], kind) for name, kind in _KINDS.items()))


_KINDS = {"bits": "<u2", "docids": "<u4"}


def find_cuts(
    rows: Callable[[int, int], Forward],
    docids: npt.NDArray[np.uint32],
    frequency: npt.NDArray[np.int64],
    share_or_n: float,
    *,
    chunk: int,
    memory: int,
) -> Cuts:
    """The cuts that keep the heaviest `share_or_n` of every list: a share below 1, rounded up, or
    so many; ties go to the earlier document.

    `rows(a, b)` are the vectors of docids[a..b-1], which ascend; `frequency` are the lengths of the
    lists; vectors are read `chunk` documents at a time, three times.
    """
    # Imported here: numba takes longer to import than a small index takes to open and search.
    from .cut_kernels import count_heavy, last_at_cut, nth_digit

    n_terms = len(frequency)
    if share_or_n < 1:
        kept = np.ceil(frequency * share_or_n).astype(np.int64)
    else:
        kept = np.minimum(frequency, int(share_or_n))
    cuts = Cuts(np.zeros(n_terms, np.uint16), np.full(n_terms, 2**32 - 1, np.uint32))
    at_once = max(1, memory // (8 * _DIGITS))
    for lo in range(0, n_terms, at_once):
        hi = min(lo + at_once, n_terms)
        left = kept[lo:hi].copy()
        high = np.full(hi - lo, -1, np.int64)
        low = np.zeros(hi - lo, np.int64)
        for digit in (high, low):
            digits = np.zeros((hi - lo, _DIGITS), np.int64)
            for a in range(0, len(docids), chunk):
                part = rows(a, min(a + chunk, len(docids)))
                begin, end = int(part.starts[0]), int(part.starts[-1])
                count_heavy(part.terms[begin:end], part.bits[begin:end], lo, high, digits)
            nth_digit(digits, left, digit)
        cut = (high << 7 | low).astype(np.uint16)
        last = np.zeros(hi - lo, np.uint32)
        for a in range(0, len(docids), chunk):
            part = rows(a, min(a + chunk, len(docids)))
            here = docids[a : a + part.n_docs]
            last_at_cut(part.starts, part.terms, part.bits, here, lo, cut, left, last)
        # A list that was empty may grow later: it has nothing to be measured by, so it stays whole.
        used = np.flatnonzero(frequency[lo:hi])
        cuts.bits[lo + used] = cut[used]
        cuts.docids[lo + used] = last[used]
    return cuts


def _packed(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 1)).decode()


def _unpacked(text: str, kind: str) -> npt.NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)
