"""What a build may spend, and whom it tells how far it is."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

THREADS_A_CORE = 4
"""More would only take memory: each counts the terms of its documents for itself, 8 bytes a
term and half a megabyte. 99,999 threads over five documents took 13.5 GB."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What a build may spend, and whom it tells: nothing here changes what a search answers.

    `threads` None takes every core this process may use; no number takes more than four a core.
    `memory` is in bytes, None for as much as it takes. `seconds` bounds the ordering.
    `ordered(done, total)` is called while documents are being ordered; what it raises ends the
    build.
    """

    threads: int | None = None
    memory: int | None = None
    seconds: float = math.inf
    ordered: Callable[[int, int], None] | None = None
    merged: Callable[[int, int], None] | None = None

    @property
    def n_threads(self) -> int:
        """Threads to use: those asked for, as far as there are cores for them."""
        cores = len(os.sched_getaffinity(0))
        return min(self.threads or cores, THREADS_A_CORE * cores)
