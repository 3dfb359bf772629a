"""`Board`: the numbers that one process counts, in a file that its siblings map and add up.

    values    float64 slots; a series is a run of them
    length    of what follows, uint64
    keys      a JSON line a series, (name, label values); its place follows from the lines before

Only the owner writes. A reader sees each number whole (eight aligned bytes), perhaps one request
apart from its neighbour, which is all that a page of counters needs. The file has its full length
on disk from the start, since a page that the disk has no room for would end the process when it is
written (SIGBUS). Without a path the board is memory of this process alone.

A process that has ended leaves its counts to `retired`, so that sums never fall; gauges end with
it.
"""

import fcntl
import mmap
import os
import sys
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from .names import METRICS, SERIES_DROPPED, Metric

Key = tuple[str, ...]
"""(metric, label values...)"""
Values = dict[Key, list[float]]

CAPACITY = 1 << 16
"""Slots: 512 KiB. Some 800 indexes fit."""
KEY_BYTES = 1 << 20
RETIRED = "retired"


class Board:
    """The counts of this process. Hold `lock` round `add`, `observe` and `load`.

    Raises `OSError` where there is no room for its file.
    """

    def __init__(self, path: Path | None = None, *, capacity: int = CAPACITY) -> None:
        self.path = path
        self.lock = threading.Lock()
        self._slots: dict[Key, int] = {}
        self._used = 0
        self._capacity = capacity
        n_bytes = 8 * capacity + 8 + KEY_BYTES
        self._memory: bytearray | mmap.mmap
        if path is None:
            self._memory = bytearray(n_bytes)
        else:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, n_bytes)
                self._memory = mmap.mmap(file, n_bytes)
            except OSError:
                path.unlink()
                raise
            finally:
                os.close(file)
        whole = memoryview(self._memory)
        self._values = whole[: 8 * capacity].cast("d")
        self._length = whole[8 * capacity : 8 * capacity + 8].cast("Q")
        self._keys = whole[8 * capacity + 8 :]
        self._slot_of(SERIES_DROPPED, ())

    def close(self) -> None:
        """Let go of the file; the counts stay in it."""
        for view in (self._values, self._length, self._keys):
            view.release()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()

    def add(self, metric: Metric, labels: Key = (), amount: float = 1.0) -> None:
        """Count `amount` more."""
        slot = self._slot_of(metric, labels)
        if slot >= 0:
            self._values[slot] += amount

    def observe(self, metric: Metric, labels: Key, value: float) -> None:
        """One more value of a histogram."""
        slot = self._slot_of(metric, labels)
        if slot >= 0:
            self._values[slot + bisect_left(metric.bounds, value)] += 1.0
            self._values[slot + metric.width - 1] += value

    def load(self, totals: Mapping[Key, Sequence[float]]) -> None:
        """Let the series have these values."""
        for key, numbers in totals.items():
            slot = self._slot_of(METRICS[key[0]], key[1:])
            for i, number in enumerate(numbers if slot >= 0 else ()):
                self._values[slot + i] = number

    def values(self) -> Values:
        """Everything on this board now."""
        with self.lock:
            return {
                key: list(self._values[slot : slot + METRICS[key[0]].width])
                for key, slot in self._slots.items()
            }

    def _slot_of(self, metric: Metric, labels: Key) -> int:
        """Where a series begins, from now on; -1 where no room is left, which is counted."""
        key = (metric.name, *labels)
        slot = self._slots.get(key)
        if slot is None:
            line = orjson.dumps(key) + b"\n"
            end = self._length[0] + len(line)
            if self._used + metric.width > self._capacity or end > len(self._keys):
                self._values[0] += 1.0
                return -1
            self._keys[self._length[0] : end] = line
            self._length[0] = end  # a reader that sees the length sees the line
            slot = self._slots[key] = self._used
            self._used += metric.width
        return slot


def read_board(path: Path, *, capacity: int = CAPACITY) -> Values:
    """What a board's file says."""
    written = path.read_bytes()
    if len(written) < 8 * capacity + 8:  # its process has just begun
        return {}
    values = memoryview(written)[: 8 * capacity].cast("d")
    length = int.from_bytes(written[8 * capacity : 8 * capacity + 8], sys.byteorder)
    start = 8 * capacity + 8
    found: Values = {}
    slot = 0
    for line in written[start : start + length].splitlines():
        key = tuple(orjson.loads(line))
        width = METRICS[key[0]].width
        found[key] = list(values[slot : slot + width])
        slot += width
    return found


def add_up(totals: Values, more: Mapping[Key, list[float]]) -> None:
    """Add one board to the sum of others."""
    for key, numbers in more.items():
        before = totals.get(key)
        totals[key] = (
            numbers if before is None else [a + b for a, b in zip(before, numbers, strict=True)]
        )


def read_all(folder: Path) -> Values:
    """The sum over the boards of a folder: those of running processes, and what others left."""
    totals: Values = {}
    with locked(folder, fcntl.LOCK_SH):
        for path in sorted(folder.glob("*.board")):
            add_up(totals, read_board(path))
    return totals


def retire(folder: Path, name: str) -> None:
    """Add the counts of a process that has ended to those of the others that have."""
    path = folder / f"{name}.board"
    with locked(folder, fcntl.LOCK_EX):
        if not path.exists():
            return
        totals: Values = {}
        old = folder / f"{RETIRED}.board"
        if old.exists():
            add_up(totals, read_board(old))
        gone = read_board(path)
        add_up(totals, {k: v for k, v in gone.items() if METRICS[k[0]].kind != "gauge"})
        fresh = folder / f"{RETIRED}.new"
        board = Board(fresh)
        board.load(totals)
        board.close()
        fresh.replace(old)
        path.unlink()


@contextmanager
def locked(folder: Path, how: int) -> Iterator[None]:
    """Readers share; nobody reads while a board is being retired."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
