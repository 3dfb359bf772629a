"""Which ranks of a ranking are taken, and how many of them at random.

SPLADE-v3 (arXiv 2403.06789) takes 50 of the top 50 and 50 at random of the top 1,000:
"0-50:50", "50-1000:50".
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsr.errors import RecipeError

_FORM = re.compile(r"(\d+)-(\d+)(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Window:
    """Ranks `first` to `last`, 0-based, the last one left out; `take` of them, None is all."""

    first: int
    last: int
    take: int | None = None


def parse_window(text: str) -> Window:
    """Read "FIRST-LAST" or "FIRST-LAST:TAKE".

    >>> parse_window("50-1000:50")
    Window(first=50, last=1000, take=50)
    """
    found = _FORM.fullmatch(text.strip())
    window = (
        Window(int(found[1]), int(found[2]), int(found[3]) if found[3] else None) if found else None
    )
    if window is None or window.first >= window.last or window.take == 0:
        raise RecipeError(
            f"window {text!r}: wanted FIRST-LAST or FIRST-LAST:TAKE, ranks from 0 with the last "
            'left out, for example "10-50" or "50-1000:50"'
        )
    return window


def draw(
    n_ranked: int,
    windows: Sequence[Window],
    accept: Callable[[int], bool],
    *,
    query: str,
    seed: int,
) -> list[int]:
    """The ranks taken of a ranking of `n_ranked` documents, window by window, none twice.

    A window is gone through at random, or by rank where it takes all, until `take` of its ranks are
    accepted; `accept` is asked once a rank. What is drawn depends on the seed, the window and the
    query's text alone, so other queries and their order do not matter.
    """
    taken: list[int] = []
    asked: set[int] = set()
    for window in windows:
        ranks: npt.NDArray[np.int64] = np.arange(window.first, min(window.last, n_ranked))
        room = len(ranks) if window.take is None else window.take
        if room < len(ranks):
            ranks = _rng(query, seed, window).permutation(ranks)
        of_window: list[int] = []
        for rank in ranks.tolist():
            if len(of_window) == room:
                break
            if rank not in asked:
                asked.add(rank)
                if accept(rank):
                    of_window.append(rank)
        taken += sorted(of_window)
    return taken


def _rng(query: str, seed: int, window: Window) -> np.random.Generator:
    digest = hashlib.blake2b(query.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.random.default_rng(
        [seed, window.first, window.last, int.from_bytes(digest, "little")]
    )
