"""Durations on the command line: 90, 90s, 8m, 2h."""

import re
from typing import Any

import click

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """A time above 0, given in seconds, or with the unit s, m or h; becomes seconds.

    >>> Duration().convert("8m", None, None)
    480.0
    """

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds, or a usage error that shows the forms."""
        found = _FORM.fullmatch(str(value).strip().lower())
        seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
        if seconds <= 0:
            self.fail(
                f"{value!r} is no duration above 0; wanted 90s, 8m, 2h or seconds", param, ctx
            )
        return seconds
