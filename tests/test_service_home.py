"""A data directory remembers names and tasks through restarts, and refuses what it is not."""

import hashlib
from pathlib import Path

import pytest

from lsr.errors import IndexLocked, IndexVersion, UsageError
from service.home import Home, log, queue, registry
from service.home.home import FORMAT, SCHEMA
from service.problems import ProblemError


def test_a_directory_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="no data directory"):
        Home.open(tmp_path)


def test_names_survive_and_are_unique(tmp_path: Path) -> None:
    with Home.open(tmp_path / "data") as home:
        folder = registry.new_folder(home, "papers")
        with home.transaction() as connection:
            registry.enter(connection, "papers", folder, {"fields": {}})
        with pytest.raises(ProblemError, match="already"), home.transaction() as connection:
            registry.enter(connection, "papers", registry.new_folder(home, "papers"), {})
    with Home.open(tmp_path / "data") as home:
        names = registry.Registry.read(home)
        assert names.resolve("papers").path == folder
        with pytest.raises(ProblemError, match="no index") as caught:
            names.resolve("papres")
        assert caught.value.hint == "Did you mean 'papers'?"


def test_another_process_notices_every_change(tmp_path: Path) -> None:
    with Home.open(tmp_path / "data") as one, Home.open(tmp_path / "data") as other:
        before = other.changed()
        one.put_setting("colour", "blue")
        assert other.changed() != before
        assert other.setting("colour") == "blue"


def test_whether_somebody_works_is_seen_without_taking_the_lock(tmp_path: Path) -> None:
    with Home.open(tmp_path / "data") as home:
        assert home.worked_in() is False
        with home.working():
            assert home.worked_in() is True
        assert home.worked_in() is False


def test_only_one_process_works(tmp_path: Path) -> None:
    with Home.open(tmp_path / "data") as home, home.working(), pytest.raises(IndexLocked):
        home.working().__enter__()


def test_tasks_of_one_index_run_in_order_and_of_others_meanwhile(tmp_path: Path) -> None:
    with Home.open(tmp_path / "data") as home:
        with home.transaction() as connection:
            first, second, third = (
                queue.enqueue(connection, "ingest", name, {}) for name in ("a", "a", "b")
            )
        claimed = queue.claim(home, [])
        assert claimed is not None
        assert claimed.id == first
        beside = queue.claim(home, [("a", None)])
        assert beside is not None
        assert beside.id == third
        assert queue.claim(home, [("a", None), ("b", None)]) is None
        with home.transaction() as connection:
            queue.finish(connection, first, "succeeded", details={"indexed": 3})
        following = queue.claim(home, [("b", None)])
        assert following is not None
        assert following.id == second


def test_a_start_forgets_what_was_never_acknowledged(tmp_path: Path) -> None:
    """A half-received body was acknowledged to nobody; a running task was, and begins anew."""
    with Home.open(tmp_path / "data") as home:
        with home.transaction() as connection:
            half = queue.begin(connection, "ingest", "a", {})
            log.append(connection, half, log.Chunk(0, 1, (b"{}", b"{}")))
            whole = queue.enqueue(connection, "ingest", "b", {})
            log.append(connection, whole, log.Chunk(0, 1, (b"one", b"two")))
        claimed = queue.claim(home, [])
        assert claimed is not None
        assert claimed.id == whole
        queue.recover(home)
        with pytest.raises(ProblemError, match="no task"):
            queue.task_of(home, half)
        assert queue.task_of(home, whole).state == "queued"
        assert [chunk.lines for chunk in log.chunks(home, whole)] == [(b"one", b"two")]
        assert log.n_bytes(home) == len(b"one\ntwo")


def test_a_task_that_has_not_begun_is_canceled_at_once(tmp_path: Path) -> None:
    with Home.open(tmp_path / "data") as home:
        with home.transaction() as connection:
            number = queue.enqueue(connection, "ingest", "a", {})
        assert queue.cancel(home, number).state == "canceled"
        assert queue.claim(home, []) is None


def test_a_directory_of_the_first_format_is_brought_along(tmp_path: Path) -> None:
    """It had no table of versions: the worker died of that at every start, as the format number
    had not moved with the table.
    """
    with Home.open(tmp_path) as home, home.transaction() as connection:
        connection.execute("DROP TABLE versions")
        connection.execute("UPDATE settings SET value='1' WHERE key='format'")
    with pytest.raises(IndexVersion, match="serve it once"):
        Home.open(tmp_path, read_only=True)
    with Home.open(tmp_path) as home:
        assert home.setting("format") == FORMAT
        assert home.rows("SELECT * FROM versions") == []
    Home.open(tmp_path, read_only=True).close()


def test_the_format_moves_with_the_tables() -> None:
    """Whoever changes the schema raises FORMAT, writes the step from the one before and this."""
    digest = hashlib.sha256(SCHEMA.encode()).hexdigest()[:12]
    assert (FORMAT, digest) == (2, "49a66297b957")


def test_an_upload_that_a_starting_worker_forgot_is_not_acknowledged(tmp_path: Path) -> None:
    """It was taken for one whose server had died; a repetition under the same key begins anew."""
    with Home.open(tmp_path / "home") as home:
        with home.transaction() as connection:
            number = queue.begin(connection, "ingest", "docs", {})
        queue.recover(home)
        with (
            pytest.raises(ProblemError) as refused,
            home.transaction() as connection,
        ):
            connection.execute("INSERT INTO idempotency VALUES('k', 'docs', x'00', 1, 0)")
            queue.submit(connection, number)
        assert refused.value.code == "index_busy"
        assert home.rows("SELECT count(*) FROM idempotency") == [(0,)], "nothing of it stays"


def test_finished_tasks_are_forgotten_in_time(tmp_path: Path) -> None:
    """Every single document that is written is a task; unfinished ones stay whatever their age."""
    with Home.open(tmp_path / "data") as home:
        with home.transaction() as connection:
            numbers = [queue.enqueue(connection, "ingest", "a", {}) for _ in range(6)]
            for number in numbers[1:]:
                queue.finish(connection, number, "succeeded")
            connection.execute("UPDATE tasks SET finished=1 WHERE id=?", (numbers[4],))
        assert queue.prune(home, older_than_s=3600) == [numbers[4]]
        assert sorted(queue.prune(home, at_most=2)) == numbers[1:3]
        assert sorted(task.id for task in queue.tasks_of(home)) == [
            numbers[0],
            numbers[3],
            numbers[5],
        ]
