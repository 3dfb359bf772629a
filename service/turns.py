"""Turns: quick searches one after the other, slow ones beside them.

Searches that run at the same time fight for Python's lock: with eight clients and forty threads on
two cores a search of 0.75 ms of processor took 1.06, and one in a hundred waited 64 ms instead of
10. So few of them run at a time. What runs longer than `SLOW_S` gives its turn to the next and goes
on beside it, since most of what is left of it is work of the compiled core, a network or the disk,
outside that lock.
"""

import asyncio
import os
from collections import deque

SLOW_S = 0.005


class Turn:
    """Leave to run; given back once, whoever is first to do so."""

    __slots__ = ("_turns",)

    def __init__(self, turns: "Turns") -> None:
        self._turns: Turns | None = turns

    def end(self) -> None:
        """Let the next one run."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.pass_on()


class Turns:
    """`at_once` of them, by default half as many as there are cores; for one event loop."""

    def __init__(self, at_once: int | None = None) -> None:
        self._free = at_once or max(1, (os.cpu_count() or 1) // 2)
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> Turn:
        """Wait for a turn, in the order of asking."""
        if self._free and not self._waiting:
            self._free -= 1
            return Turn(self)
        called = asyncio.get_running_loop().create_future()
        self._waiting.append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():  # called and gone: the turn is the next's
                self.pass_on()
            else:
                self._waiting.remove(called)
            raise
        return Turn(self)

    def pass_on(self) -> None:
        """Call the one that has waited longest."""
        while self._waiting:
            called = self._waiting.popleft()
            if not called.done():
                called.set_result(None)
                return
        self._free += 1
