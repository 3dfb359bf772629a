"""A body on its way survives a worker that starts, and a dead server's is forgotten."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.home import Home, log, queue
from service.home.arriving import Arriving
from service.problems import ProblemError
from service.receiving import CHUNK_LINES, Upload


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "server")


def lines(n: int) -> list[bytes]:
    return [b'{"id": "%d"}' % number for number in range(n)]


def locks(home: Home) -> list[str]:
    return [one.name for one in (home.path / "tasks").iterdir()]


def test_a_worker_that_starts_leaves_bodies_alone_that_come(home: Home) -> None:
    """It used to drop them, also at the start of the server, and the client was told to begin
    again.
    """

    async def body() -> AsyncIterator[list[bytes]]:
        for part in range(3):
            yield lines(CHUNK_LINES)
            if part == 1:
                assert len(locks(home)) == 1
                queue.recover(home)

    upload = Upload(home, "pets", {}, None)
    task = asyncio.run(upload.receive(body()))
    assert task.state == "queued"
    assert log.n_lines(home, task.id) == 3 * CHUNK_LINES
    assert locks(home) == []


def test_a_body_that_breaks_off_leaves_nothing(home: Home) -> None:
    async def body() -> AsyncIterator[list[bytes]]:
        yield lines(CHUNK_LINES)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(Upload(home, "pets", {}, None).receive(body()))
    assert queue.tasks_of(home) == []
    assert log.n_bytes(home) == 0
    assert locks(home) == []


def test_a_body_that_somebody_dropped_is_no_task(home: Home) -> None:
    async def body() -> AsyncIterator[list[bytes]]:
        yield lines(CHUNK_LINES)
        with home.transaction() as connection:
            queue.discard(connection, queue.tasks_of(home)[0].id)
        yield lines(1)

    with pytest.raises(ProblemError) as caught:
        asyncio.run(Upload(home, "pets", {}, None).receive(body()))
    assert caught.value.code == "index_busy"


def _die_while_receiving(path: Path) -> None:
    with Home.open(path) as home, home.transaction() as connection:
        number = queue.begin(connection, "ingest", "pets", {})
        Arriving(home, number)
        log.append(connection, number, log.Chunk(0, 1, (b"{}",)))
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_dead_server_was_receiving_is_forgotten(home: Home) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_die_while_receiving, args=(home.path,)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert [one.state for one in queue.tasks_of(home)] == ["receiving"]
    assert len(locks(home)) == 1
    queue.recover(home)
    assert queue.tasks_of(home) == []
    assert log.n_bytes(home) == 0
    assert locks(home) == []
