"""A progress bar with rate and time left, for people at a terminal and for people reading a log.

At a terminal it is tqdm. Elsewhere it is a plain line now and then (each after at least 5 s and a
further tenth of the work, or after a minute), so that a log file stays readable. `quiet=True` or
`LSR_QUIET=1` silences it. It always writes to standard error, and a finished bar leaves nothing.
"""

import operator
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from tqdm import tqdm

T = TypeVar("T")

_LINE_SECONDS = 5.0  # a shorter job needs no lines at all
_LINE_SHARE = 0.1
_LINE_AT_LATEST = 60.0


class _Terminal(tqdm):  # type: ignore[type-arg]
    """tqdm without its monitor thread, which forked workers would inherit half alive."""

    monitor_interval = 0


class Bar(Generic[T]):
    """Counts work done; iterate over it, or call `update(n)` inside a `with` block."""

    def __init__(
        self,
        iterable: Iterable[T] | None = None,
        *,
        total: int | None = None,
        unit: str = "items",
        desc: str = "",
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._iterable = iterable
        if total is None and iterable is not None:
            total = operator.length_hint(iterable) or None
        self.n = 0
        self.total = total
        self.unit = unit
        self.desc = desc
        self._clock = clock
        self._started = self._line_at = clock()
        self._line_n = 0
        self._tqdm: _Terminal | None = None
        self._silent = quiet
        if not quiet and sys.stderr.isatty():
            self._tqdm = _Terminal(
                total=total,
                unit=f" {unit}",
                desc=desc,
                file=sys.stderr,
                leave=False,
                dynamic_ncols=True,
                mininterval=0.2,
            )

    def update(self, n: int = 1) -> None:
        """Count `n` more units as done."""
        self.n += n
        if self._tqdm is not None:
            self._tqdm.update(n)
        elif not self._silent:
            self._line_if_due()

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._tqdm is not None:
            self._tqdm.close()

    def __enter__(self) -> "Bar[T]":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        with self:
            for item in () if self._iterable is None else self._iterable:
                yield item
                self.update()

    def _line_if_due(self) -> None:
        now = self._clock()
        waited = now - self._line_at
        if waited < _LINE_SECONDS:
            return
        step = _LINE_SHARE * self.total if self.total else 0.0
        if self.n - self._line_n < step and waited < _LINE_AT_LATEST:
            return
        self._line_at, self._line_n = now, self.n
        print(self._line(now - self._started), file=sys.stderr, flush=True)

    def _line(self, elapsed: float) -> str:
        rate = self.n / elapsed
        line = f"{self.desc:<10} {self.n:,}"
        if self.total:
            line += f" of {self.total:,} {self.unit}, {100 * self.n / self.total:.0f} %"
        else:
            line += f" {self.unit}"
        line += f", {rate:,.0f} a second" if rate >= 10 else f", {rate:.2g} a second"
        if self.total and rate > 0:
            left = max(0.0, (self.total - self.n) / rate)
            line += f", {tqdm.format_interval(left)} left"
        return line


def bar(
    iterable: Iterable[T] | None = None,
    *,
    total: int | None = None,
    unit: str = "items",
    desc: str = "",
    quiet: bool | None = None,
) -> Bar[T]:
    """Wrap `iterable`, or count by hand with `update`; quiet by argument or `LSR_QUIET=1`.

    >>> [n * n for n in bar([1, 2, 3], unit="numbers", quiet=True)]
    [1, 4, 9]
    """
    if quiet is None:
        quiet = os.environ.get("LSR_QUIET", "") not in ("", "0")
    return Bar(iterable, total=total, unit=unit, desc=desc, quiet=quiet)
