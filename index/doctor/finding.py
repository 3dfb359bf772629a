"""What a check tells: how bad it is, what was measured, why it matters, what to type next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["ok", "warn", "fail", "skipped"]
"""skipped: this index, encoder or sample cannot show it, and `measured` says why."""

ORDER: dict[Level, int] = {"fail": 0, "warn": 1, "ok": 2, "skipped": 3}
"""The worst first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check.

    `measured` is one sentence with its numbers, `next` the words of a command (empty where nothing
    needs doing), `numbers` what machines read; shares lie in [0, 1], times are in microseconds.
    """

    check: str
    level: Level
    measured: str
    why: str = ""
    next: tuple[str, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)


def skipped(check: str, reason: str) -> Finding:
    """A check that could not be made here."""
    return Finding(check, "skipped", reason)


def graded(value: float, *, warn: float, fail: float = float("inf")) -> Level:
    """The level of a number of which more is worse.

    >>> graded(0.02, warn=0.01, fail=0.05), graded(0.01, warn=0.01)
    ('warn', 'ok')
    """
    if value > fail:
        return "fail"
    return "warn" if value > warn else "ok"


def worst(*levels: Level) -> Level:
    """The worst of several levels.

    >>> worst("ok", "fail", "warn")
    'fail'
    """
    return min(levels, key=ORDER.__getitem__)


def percent(share: float) -> str:
    """A share for people, with digits enough that little is not nothing.

    >>> percent(0.5), percent(0.0123), percent(0.00042), percent(0), percent(0.0000001)
    ('50 %', '1.2 %', '0.042 %', '0 %', '<0.001 %')
    """
    if 0 < share < 1e-5:
        return "<0.001 %"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.2g} %"


def several(names: list[str], most: int = 5) -> str:
    """The first few of some names.

    >>> several(["a", "b", "c"], 2)
    'a, b, ...'
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
