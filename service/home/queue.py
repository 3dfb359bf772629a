"""Tasks: long work that is acknowledged now and done by the worker, in order per index.

    receiving -> queued -> running -> succeeded | failed | canceled

Tasks of one index run in the order in which they were acknowledged, which is that of their tickets:
a big upload that takes its time holds nobody up, and a delete that was asked for after an ingestion
was acknowledged finds what that brought.

A task whose body was still being received when the server died was never acknowledged: the worker
forgets it, now and then and when it starts (arriving.py). One that was running is queued again, and
what runs it must be able to begin anew (`worker/`).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import apsw
import orjson

from ..problems import ProblemError
from .arriving import is_arriving, left_behind
from .home import Home

State = Literal["receiving", "queued", "running", "succeeded", "failed", "canceled"]
FINISHED: tuple[State, ...] = ("succeeded", "failed", "canceled")

MOUNTED = "mounted"
"""In the request of a task, as its first member: where the index lies that was named on the command
line of the server. Another one of its name, there or here, is not meant."""
Lane = tuple[str | None, str | None]
"""What the tasks of one index have in common: its name, and where it lies if it is not ours."""
_LANE = (
    "index_name, CASE WHEN substr(request, 1, 11)=CAST('{\"mounted\":' AS BLOB) "
    "THEN json_extract(CAST(request AS TEXT), '$.mounted') END"
)

KEEP_S = 30 * 24 * 3600.0
KEEP_TASKS = 10_000
"""Finished tasks are remembered so long, and so many of them."""
KEEP_IDEMPOTENCY_S = 24 * 3600.0

_COLUMNS = (
    "id, kind, index_name, state, created, started, finished, request, progress, details, error, "
    "cancel"
)


@dataclass(frozen=True, slots=True)
class Task:
    """One task as stored; times in seconds since the epoch.

    `progress` is {"done", "total" or null}; `details` what it did so far or in the end; `error` the
    problem that ended it: {"code", "detail", "hint"}.
    """

    id: int
    kind: str
    index: str | None
    state: State
    created: float
    started: float | None
    finished: float | None
    request: Mapping[str, Any]
    progress: Mapping[str, Any] | None
    details: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    cancel: bool

    @property
    def about(self) -> str | None:
        """The index it is about. A rebuild is about one, but not among the tasks that wait for each
        other there.
        """
        named = self.request.get("index")
        return self.index or (None if named is None else str(named))

    @property
    def lane(self) -> Lane:
        """Whose turn it waits for."""
        where = self.request.get(MOUNTED)
        return self.index, None if where is None else str(where)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINISHED


def begin(
    connection: apsw.Connection, kind: str, index: str | None, request: Mapping[str, Any]
) -> int:
    """A new task that is still being received, inside a transaction; its id."""
    connection.execute(
        "INSERT INTO tasks(kind, index_name, state, created, request) VALUES(?, ?, ?, ?, ?)",
        (kind, index, "receiving", time.time(), orjson.dumps(dict(request))),
    )
    return connection.last_insert_rowid()


def submit(connection: apsw.Connection, number: int) -> None:
    """It is received whole: let it run in its turn, inside a transaction.

    Raises the problem `index_busy` where it is not there any more.
    """
    connection.execute(
        "UPDATE tasks SET state='queued', ticket=(SELECT coalesce(max(ticket), 0)+1 FROM tasks) "
        "WHERE id=?",
        (number,),
    )
    if not connection.changes():
        raise ProblemError(
            "index_busy",
            "The documents were dropped while they were on their way.",
            hint="Send them again.",
            headers={"Retry-After": "1"},
        )


def enqueue(
    connection: apsw.Connection, kind: str, index: str | None, request: Mapping[str, Any]
) -> int:
    """A new task that waits for its turn, inside a transaction; its id."""
    number = begin(connection, kind, index, request)
    submit(connection, number)
    return number


def discard(connection: apsw.Connection, number: int) -> None:
    """Forget a task that nobody was told of, inside a transaction."""
    connection.execute("DELETE FROM log WHERE task=?", (number,))
    connection.execute("DELETE FROM tasks WHERE id=?", (number,))


def task_of(home: Home, number: int) -> Task:
    """The task of this id. Raises the problem `unknown_task`."""
    found = home.rows(f"SELECT {_COLUMNS} FROM tasks WHERE id=?", number)
    if not found:
        raise ProblemError("unknown_task", f"There is no task {number}.")
    return _task(found[0])


def tasks_of(
    home: Home,
    *,
    index: str | None = None,
    state: str | None = None,
    before: int | None = None,
    limit: int = 20,
) -> list[Task]:
    """The newest tasks first, of one index or in one state if that is wanted."""
    found = home.rows(
        f"SELECT {_COLUMNS} FROM tasks WHERE (?1 IS NULL OR index_name=?1 OR (kind='rebuild' AND "
        "json_extract(CAST(request AS TEXT), '$.index')=?1)) "
        "AND (?2 IS NULL OR state=?2) AND (?3 IS NULL OR id<?3) ORDER BY id DESC LIMIT ?4",
        index,
        state,
        before,
        limit,
    )
    return [_task(row) for row in found]


FORESTALLED = "coalesce(json_extract(CAST(error AS TEXT), '$.code'), '')='version_conflict'"
"""Of a task: it ended with the answer 412, which is ordinary."""


def counts(home: Home) -> dict[str, int]:
    """How many tasks are in each state, "conflict" being that of a writer with If-Match whom
    somebody forestalled: its task has failed, and nothing is wrong.
    """
    return dict(
        home.rows(
            f"SELECT CASE WHEN {FORESTALLED} THEN 'conflict' ELSE state END AS said, count(*) "
            "FROM tasks GROUP BY said"
        )
    )


def prune(home: Home, *, older_than_s: float = KEEP_S, at_most: int = KEEP_TASKS) -> list[int]:
    """Forget finished tasks that are old, or too many; their numbers, whose files may go too.

    One whose request may come again with its idempotency key stays.
    """
    now = time.time()
    with home.transaction() as connection:
        gone: list[tuple[int]] = connection.execute(  # type: ignore[assignment]
            "DELETE FROM tasks WHERE finished IS NOT NULL AND (finished<? OR id<=("
            "SELECT id FROM tasks ORDER BY id DESC LIMIT 1 OFFSET ?)) "
            "AND id NOT IN (SELECT task FROM idempotency WHERE at>=?) RETURNING id",
            (now - older_than_s, at_most, now - KEEP_IDEMPOTENCY_S),
        ).fetchall()
    return [number for (number,) in gone]


def recover(home: Home) -> None:
    """After a start: forget half-received tasks, queue again what was running."""
    forget_unfinished_bodies(home)
    with home.transaction() as connection:
        for number in _in_state(connection, "running"):
            put_back(connection, number, None)


def forget_unfinished_bodies(home: Home) -> None:
    """Tasks that were being received by a process that is no more."""
    with home.transaction() as connection:
        receiving = _in_state(connection, "receiving")
        for number in receiving:
            if not is_arriving(home, number):
                discard(connection, number)
        # Inside, since a lock is made in the transaction that makes its task.
        for number in set(left_behind(home)) - set(receiving):
            is_arriving(home, number)


def claim(home: Home, busy: Sequence[Lane]) -> Task | None:
    """The next task whose index nobody works on, now running; None when there is none.

    For the worker only.
    """
    waiting = home.rows(
        f"SELECT id, {_LANE} FROM tasks WHERE finished IS NULL AND state='queued' ORDER BY ticket"
    )
    seen = set(busy)
    for number, *lane in waiting:
        if (mine := (lane[0], lane[1])) in seen:
            continue
        seen.add(mine)
        with home.transaction() as connection:
            claimed = connection.execute(
                "UPDATE tasks SET state='running', started=coalesce(started, ?) "
                "WHERE id=? AND state='queued' RETURNING id",
                (time.time(), number),
            ).fetchall()
        if claimed:
            return task_of(home, number)
    return None


def report(
    home: Home, number: int, progress: Mapping[str, Any], details: Mapping[str, Any]
) -> bool:
    """Store how far a running task is; whether somebody asked to cancel it."""
    with home.transaction() as connection:
        found = connection.execute(
            "UPDATE tasks SET progress=?, details=? WHERE id=? RETURNING cancel",
            (orjson.dumps(dict(progress)), orjson.dumps(dict(details)), number),
        ).fetchall()
    return bool(found and found[0][0])


def finish(
    connection: apsw.Connection,
    number: int,
    state: Literal["succeeded", "failed", "canceled"],
    *,
    details: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
    progress: Mapping[str, Any] | None = None,
) -> None:
    """End a task and let go of its lines, inside a transaction."""
    connection.execute(
        "UPDATE tasks SET state=?, finished=?, details=coalesce(?, details), error=?, "
        "progress=coalesce(?, progress) WHERE id=?",
        (
            state,
            time.time(),
            None if details is None else orjson.dumps(dict(details)),
            None if error is None else orjson.dumps(dict(error)),
            None if progress is None else orjson.dumps(dict(progress)),
            number,
        ),
    )
    connection.execute("DELETE FROM log WHERE task=?", (number,))


def put_back(connection: apsw.Connection, number: int, why: str | None) -> None:
    """A running task waits again, at its old place, inside a transaction; `why` if it must.

    One that somebody asked to end ends here.
    """
    if connection.execute("SELECT 1 FROM tasks WHERE id=? AND cancel", (number,)).fetchall():
        finish(connection, number, "canceled")
        return
    error = None if why is None else orjson.dumps({"code": "waiting", "detail": why, "hint": None})
    connection.execute("UPDATE tasks SET state='queued', error=? WHERE id=?", (error, number))


def cancel(home: Home, number: int) -> Task:
    """Ask a task to end; one that has not begun ends at once, one that is over stays as it is."""
    with home.transaction() as connection:
        connection.execute("UPDATE tasks SET cancel=1 WHERE id=? AND finished IS NULL", (number,))
        waiting = connection.execute(
            "SELECT 1 FROM tasks WHERE id=? AND state='queued' AND started IS NULL", (number,)
        ).fetchall()
        if waiting:
            finish(connection, number, "canceled")
    return task_of(home, number)


def abandon(connection: apsw.Connection, index: str) -> None:
    """An index is deleted: end its tasks and forget its idempotency keys, inside a transaction.

    Else they would be done to the next index of its name. Those of an index of the command line
    that had the name are not its own.
    """
    gone = {
        "code": "unknown_index",
        "detail": f"Index '{index}' was deleted first.",
        "hint": None,
    }
    for state in ("queued", "running"):
        found: list[Any] = connection.execute(
            f"SELECT id, {_LANE} FROM tasks WHERE state=? AND index_name=?", (state, index)
        ).fetchall()
        for number in [number for number, _, where in found if where is None]:
            if state == "queued":
                finish(connection, number, "failed", error=gone)
            else:
                connection.execute("UPDATE tasks SET cancel=1 WHERE id=?", (number,))
    connection.execute("DELETE FROM idempotency WHERE index_name=?", (index,))


def _in_state(connection: apsw.Connection, state: State) -> list[int]:
    rows: list[Any] = connection.execute("SELECT id FROM tasks WHERE state=?", (state,)).fetchall()
    return [number for (number,) in rows]


def _task(row: tuple[Any, ...]) -> Task:
    number, kind, index, state, created, started, finished, *documents, asked = row
    request, progress, details, error = (
        None if one is None else orjson.loads(one) for one in documents
    )
    return Task(
        number,
        kind,
        index,
        state,
        created,
        started,
        finished,
        request or {},
        progress,
        details,
        error,
        bool(asked),
    )
