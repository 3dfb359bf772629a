"""Acknowledged lines of documents, kept until the worker has made them searchable.

A chunk is some hundred lines as they came, joined by newlines. It is durable before anybody is told
so, and goes with the task that it belongs to.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import apsw

from .home import Home


@dataclass(frozen=True, slots=True)
class Chunk:
    """`lines` begins with line `first_line` of the body, counted from 1; blank ones are empty."""

    number: int
    first_line: int
    lines: tuple[bytes, ...]

    @property
    def n_given(self) -> int:
        """How many of them are not blank."""
        return sum(map(bool, self.lines))


def append(connection: apsw.Connection, task: int, chunk: Chunk) -> None:
    """Store one chunk, inside a transaction."""
    connection.execute(
        "INSERT INTO log VALUES(?, ?, ?, ?, ?)",
        (task, chunk.number, chunk.first_line, chunk.n_given, b"\n".join(chunk.lines)),
    )


def chunks(home: Home, task: int, *, after: int = -1) -> Iterator[Chunk]:
    """The chunks of a task in order, one in memory at a time."""
    while found := home.rows(
        "SELECT chunk, first_line, lines FROM log WHERE task=? AND chunk>? ORDER BY chunk LIMIT 1",
        task,
        after,
    ):
        ((after, first_line, lines),) = found
        yield Chunk(after, first_line, tuple(lines.split(b"\n")))


def n_lines(home: Home, task: int) -> int:
    """Lines that the log holds of a task, without blank ones."""
    return int(home.rows("SELECT coalesce(sum(n_lines), 0) FROM log WHERE task=?", task)[0][0])


def n_bytes(home: Home) -> int:
    """Bytes that wait in the log, of all tasks."""
    return int(home.rows("SELECT coalesce(sum(length(lines)), 0) FROM log")[0][0])
