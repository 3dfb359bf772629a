"""What a build may spend, and whom it tells how far it is."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """What a build may spend, and whom it tells: nothing here changes what a search answers.

    `threads` None takes every core this process may use. `memory` is in bytes, None for as much as
    it takes. `seconds` bounds the ordering. `ordered(done, total)` is called while documents are
    being ordered; what it raises ends the build.
    """

    threads: int | None = None
    memory: int | None = None
    seconds: float = math.inf
    ordered: Callable[[int, int], None] | None = None
    merged: Callable[[int, int], None] | None = None

    @property
    def n_threads(self) -> int:
        """Threads to use."""
        return self.threads or len(os.sched_getaffinity(0))
