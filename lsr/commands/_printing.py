"""How commands print: one fact a line under a verb, units on numbers, the next step last."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

import click
import orjson

LABEL = 10
_aside = False
"""Whether standard output is taken, so that facts go to standard error."""


def leave_output() -> None:
    """Say everything on standard error until the command ends: its result is standard output."""
    global _aside
    _aside = True
    click.get_current_context().call_on_close(_take_output_back)


def _take_output_back() -> None:
    global _aside
    _aside = False


def fact(verb: str, what: str) -> None:
    """Print one fact: `wrote      scifact.index       3.3 MB`."""
    click.echo(f"{verb:<{LABEL}} {what}", err=_aside)


def columns(first: str, rest: str) -> str:
    """Two columns of a fact, the second at a fixed place.

    >>> columns("5,183 documents", "41 s")
    '5,183 documents     41 s'
    """
    return f"{first:<19} {rest}"


def next_step(*command: str) -> None:
    """Print the last line: the command that naturally follows, ready to paste."""
    fact("next", command_line(*command))


def command_line(*command: str) -> str:
    """A command ready to paste, in double quotes where they mean the same.

    >>> command_line("lsr", "search", "my.index", "two words")
    'lsr search my.index "two words"'
    """
    line = shlex.join(command)
    return line.replace("'", '"') if _is_plain(command) else line


def note(verb: str, what: str) -> None:
    """Print a fact about how the work goes, to standard error."""
    print(f"{verb:<{LABEL}} {what}", file=sys.stderr)


def as_json(value: Any) -> None:
    """Print one JSON document for machines."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    click.echo(orjson.dumps(value, option=options, default=str).decode(), err=_aside)


def counted(n: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "document"), counted(5183, "document"), counted(2, "query"), counted(2, "key")
    ('1 document', '5,183 documents', '2 queries', '2 keys')
    """
    if n == 1:
        return f"1 {noun}"
    ends_in_ies = noun.endswith("y") and noun[-2] not in "aeou"
    return f"{n:,} {noun[:-1]}ies" if ends_in_ies else f"{n:,} {noun}s"


def size(n_bytes: float) -> str:
    """A size in decimal units.

    >>> size(512), size(3_300_000), size(2_000_000_000)
    ('512 B', '3.3 MB', '2.0 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """A time in a unit that fits.

    >>> duration(0.00042), duration(0.25), duration(41.3), duration(4000)
    ('0.42 ms', '250 ms', '41 s', '1 h 07 min')
    """
    if seconds < 0.01:
        return f"{1000 * seconds:.2f} ms"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns: the first to the left, the others, numbers, to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        click.echo("  ".join(cells).rstrip(), err=_aside)


def shortened(text: str, width: int) -> str:
    """The text on one line, cut at a word with an ellipsis, without control characters.

    >>> shortened("one two three", 9)
    'one two …'
    """
    text = " ".join(printable(text).split())
    if len(text) <= width:
        return text
    head = text[: width - 1]
    return f"{head.rsplit(' ', 1)[0]} …" if " " in head else f"{head}…"


def printable(text: str) -> str:
    """The text with spaces for control characters, which in a corpus could drive a terminal.

    >>> printable("red\\x1b[31m")
    'red [31m'
    """
    return "".join(c if c.isprintable() else " " for c in text)


def _is_plain(command: Sequence[str]) -> bool:
    return not any(c in part for part in command for c in "'\"$`\\!")
