"""`History`: the searches of the last hours by the minute, read off the sums of all processes.

A minute is the difference between two sums, so that a percentile is as fine as the buckets of
`lsr_search_duration_seconds`: within a quarter of the true one, linear in between. What several
processes serve is kept by the one that supervises them, in a file that each can answer from.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from .board import Key, Values
from .names import FINE_BOUNDS, SEARCH_ERRORS, SEARCH_SECONDS, ZERO_HITS

MINUTES = 6 * 60
FILE_NAME = "history.json"
WATCHED = frozenset({SEARCH_SECONDS.name, ZERO_HITS.name, SEARCH_ERRORS.name})


class History:
    """The last `minutes` minutes; `tick` it more often than that, with the sums so far."""

    def __init__(
        self, totals: Callable[[], Values], *, file: Path | None = None, minutes: int = MINUTES
    ) -> None:
        self._totals = totals
        self._file = file
        self._rows: deque[dict[str, Any]] = deque(maxlen=minutes)
        self._before: Values = {}
        self._minute: int | None = None
        self._lock = threading.Lock()

    def tick(self, now: float) -> None:
        """Close the minute that has ended, if one has; `now` in seconds since the epoch."""
        minute = int(now // 60)
        if minute == self._minute:
            return
        with self._lock:
            if minute == self._minute:
                return
            totals = _watched(self._totals())
            if self._minute is not None:
                self._rows.append(_row(self._minute * 60, self._before, totals))
                first = max(self._minute + 1, minute - (self._rows.maxlen or 1))
                self._rows.extend({"at": 60 * i, "indexes": {}} for i in range(first, minute))
            self._before, self._minute = totals, minute
            if self._file is not None:
                _write(self._file, list(self._rows), minute, totals)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """The minutes, the oldest first, the last one unfinished."""
        self.tick(now)
        with self._lock:
            assert self._minute is not None
            current = _row(self._minute * 60, self._before, self._totals())
            return [*self._rows, {**current, "unfinished": True}]


def rows_of(file: Path, totals: Values) -> list[dict[str, Any]]:
    """What another process keeps in its file, and the minute since; empty before the first."""
    try:
        kept = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        return []
    before = {tuple(key): numbers for key, numbers in kept["before"]}
    current = _row(kept["minute"] * 60, before, totals)
    return [*kept["rows"], {**current, "unfinished": True}]


def percentile(counts: Sequence[float], share: float) -> float | None:
    """Seconds that this share of the observations in buckets did not exceed; None without any.

    `counts` has one number for each of the fine bounds and one for what is above them.

    >>> counts = [0.0] * (len(FINE_BOUNDS) + 1)
    >>> counts[FINE_BOUNDS.index(0.01)] = 10
    >>> round(percentile(counts, 0.5), 6), percentile([0.0], 0.5)
    (0.009, None)
    """
    total = sum(counts)
    if total <= 0:
        return None
    wanted = share * total
    seen = 0.0
    for i, count in enumerate(counts):
        if count and seen + count >= wanted:
            if i >= len(FINE_BOUNDS):
                return FINE_BOUNDS[-1]
            low = FINE_BOUNDS[i - 1] if i else 0.0
            return low + (FINE_BOUNDS[i] - low) * (wanted - seen) / count
        seen += count
    return FINE_BOUNDS[-1]


def _watched(totals: Values) -> Values:
    return {key: numbers for key, numbers in totals.items() if key[0] in WATCHED}


def _row(at: int, before: Mapping[Key, Sequence[float]], after: Values) -> dict[str, Any]:
    """What happened between two sums, by index."""
    indexes: dict[str, Any] = {}
    for name in sorted({key[1] for key in after if key[0] in WATCHED}):
        timed = (SEARCH_SECONDS.name, name)
        numbers = after.get(timed, [0.0] * SEARCH_SECONDS.width)
        old = before.get(timed, [0.0] * len(numbers))
        counts = [b - a for a, b in zip(old[:-1], numbers[:-1], strict=True)]
        searches = int(sum(counts))
        errors = _grown(before, after, (SEARCH_ERRORS.name, name))
        if searches or errors:
            zero = _grown(before, after, (ZERO_HITS.name, name))
            indexes[name] = {
                "searches": searches,
                "zero_hit_share": round(zero / searches, 4) if searches else 0.0,
                "errors": int(errors),
                **{f"p{share}_ms": _ms(percentile(counts, share / 100)) for share in (50, 95, 99)},
            }
    return {"at": at, "indexes": indexes}


def _grown(before: Mapping[Key, Sequence[float]], after: Values, key: Key) -> float:
    return after.get(key, [0.0])[0] - before.get(key, [0.0])[0]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)


def _write(file: Path, rows: list[dict[str, Any]], minute: int, totals: Values) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(
        orjson.dumps({"rows": rows, "minute": minute, "before": list(totals.items())})
    )
    fresh.replace(file)
