"""Changes as clients send them: made durable, queued, and waited for if that is wanted."""

import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
from anyio.to_thread import run_sync

from .engine import Engine
from .home import Home, log, queue
from .home.arriving import Arriving
from .home.queue import Task
from .home.registry import Entry
from .pressure import Pressure
from .problems import ProblemError

CHUNK_LINES = 2000
CHUNK_BYTES = 2 << 20
BLANK_LINES = 100
"""Kept among the lines of a chunk, so that those after them have their numbers; more end it."""
POLL_S = 0.004


@dataclass
class Upload:
    """The lines of one request on their way into the log, in chunks of bounded size.

    A body of one chunk costs one transaction: task, lines and idempotency key together. `pressure`
    says whether there is room for it, which is `n_bytes` long where the client told.
    """

    home: Home
    index: str
    request: Mapping[str, Any]
    idempotency_key: str | None
    pressure: Pressure | None = None
    n_bytes: int = 0
    _task: int | None = None
    _arriving: Arriving | None = None
    _chunk: int = 0
    _first_line: int = 1
    _lines: list[bytes] = field(default_factory=list)
    _blank: int = 0
    """Blank lines that came since the last other one."""
    _n_bytes: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)

    async def receive(self, lines: AsyncIterator[list[bytes] | int]) -> Task:
        """Store all lines durably and queue their task. What is not whole leaves nothing behind."""
        if self.pressure is not None:
            await run_sync(partial(self.pressure.check_room, n_bytes=self.n_bytes))
        try:
            async for some in lines:
                if isinstance(some, int):
                    self._blank += some
                    continue
                for line in some:
                    if not line:
                        self._blank += 1
                        continue
                    if self._lines and self._blank > BLANK_LINES:
                        await run_sync(self._store)
                    self._pass_blank()
                    self._hash.update(line)
                    self._hash.update(b"\n")
                    self._lines.append(line)
                    self._n_bytes += len(line)
                    if len(self._lines) >= CHUNK_LINES or self._n_bytes >= CHUNK_BYTES:
                        await run_sync(self._store)
            if self._task is None and not self._lines:
                raise ProblemError(
                    "invalid_request",
                    "The body holds no document.",
                    hint="Send one JSON object per line.",
                )
            return await run_sync(self._submit)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await run_sync(self._discard)
            raise
        finally:
            if self._arriving is not None:
                self._arriving.over()

    def _store(self) -> None:
        if self.pressure is not None:
            self.pressure.check_disk()
        with self.home.transaction() as connection:
            if self._task is None:
                self._task = queue.begin(connection, "ingest", self.index, self.request)
                self._arriving = Arriving(self.home, self._task)
            self._append(connection)

    def _pass_blank(self) -> None:
        if self._lines:
            self._lines += [b""] * self._blank
        else:
            self._first_line += self._blank
        self._blank = 0

    def _append(self, connection: Any) -> None:
        assert self._task is not None
        chunk = log.Chunk(self._chunk, self._first_line, tuple(self._lines))
        log.append(connection, self._task, chunk)
        self._chunk += 1
        self._first_line += len(self._lines)
        self._lines = []
        self._n_bytes = 0

    def _submit(self) -> Task:
        digest = self._hash.digest()
        with self.home.transaction() as connection:
            before = None
            if self.idempotency_key is not None:
                before = _earlier(connection, self.idempotency_key, self.index, digest)
            if before is None:
                if self._task is None:
                    self._task = queue.begin(connection, "ingest", self.index, self.request)
                if self._lines:
                    self._append(connection)
                queue.submit(connection, self._task)
                if self.idempotency_key is not None:
                    connection.execute(
                        "INSERT INTO idempotency VALUES(?, ?, ?, ?, ?)",
                        (self.idempotency_key, self.index, digest, self._task, time.time()),
                    )
            elif self._task is not None:
                queue.discard(connection, self._task)
        number = self._task if before is None else before
        assert number is not None
        self._task = None  # it is acknowledged from here on
        return queue.task_of(self.home, number)

    def _discard(self) -> None:
        if self._task is not None:
            with self.home.transaction() as connection:
                queue.discard(connection, self._task)


def _earlier(connection: Any, key: str, index: str, digest: bytes) -> int | None:
    """The task that this key began before, None for a new key."""
    connection.execute(
        "DELETE FROM idempotency WHERE at<?", (time.time() - queue.KEEP_IDEMPOTENCY_S,)
    )
    found = connection.execute(
        "SELECT request_hash, task FROM idempotency WHERE key=? AND index_name=?", (key, index)
    ).fetchall()
    if not found:
        return None
    if bytes(found[0][0]) != digest:
        raise ProblemError(
            "idempotency_conflict",
            "This Idempotency-Key came before with another body.",
            hint="Use a new key for a new request.",
        )
    return int(found[0][1])


def submit(home: Home, kind: str, index: str | None, request: Mapping[str, Any]) -> Task:
    """Queue a task that needs no body, durably."""
    with home.transaction() as connection:
        number = queue.enqueue(connection, kind, index, request)
    return queue.task_of(home, number)


def where_of(entry: Entry) -> dict[str, Any]:
    """What a task says, first, of an index that is not of the data directory."""
    return {queue.MOUNTED: str(entry.path)} if entry.mounted else {}


async def finished(engine: Engine, task: Task, *, wait_s: float) -> Task:
    """The task when it is over, or as it is after `wait_s` seconds, or once the server ends."""
    home = engine.writable_home()
    deadline = time.monotonic() + wait_s
    seen = -1
    while not task.over and time.monotonic() < deadline and not engine.ending.is_set():
        version = home.changed()
        if version != seen:
            seen = version
            task = queue.task_of(home, task.id)
        else:
            await anyio.sleep(POLL_S)
    return task
