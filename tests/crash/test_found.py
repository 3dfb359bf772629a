"""What the crash tests found; each is told where it is tested."""

import gc
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crash.disk import replayed
from crash.layer import Control, environment, read_trace
from index import Index
from index.restoring import snapshots_in
from lsr.errors import DiskFull, UsageError
from lsr.types import Document
from service import making
from service.home import Home, log, queue
from service.home.home import FORMAT
from service.home.queue import Task
from service.home.registry import Entry
from service.problems import ProblemError
from service.wire.indexes import CreateIndex
from service.worker import Worker, learning
from service.worker.job import Job, Shelf


def surviving(folder: Path, script: str) -> dict[str, bytes | None]:
    """What is sure to survive a power loss right after this program, which is given a directory."""
    (folder / "disk").mkdir()
    control = Control(folder / "control")
    control.count()
    subprocess.run(
        [sys.executable, "-c", script, str(folder / "disk")],
        env=environment(folder / "disk", control, trace=folder / "trace"),
        check=True,
    )
    disk = replayed(str(folder / "disk"), read_trace(folder / "trace"))
    return disk.after_power_loss("synced", random.Random(0))


def test_a_new_index_is_still_there_with_everything_in_it(tmp_path: Path) -> None:
    """`Index.create` synced the index's directory but not the directories above it, so that power
    loss could take the whole index away by its name, acknowledged commits and all.
    """
    script = """
import sys
import threading
import time
from pathlib import Path
import numpy as np
import pytest
from scipy import sparse

from index import Index
Index.create(Path(sys.argv[1]) / "new" / "i", n_terms=5, max_weight=4.0).close()
"""
    left = surviving(tmp_path, script)
    assert "new/i/segments" in left
    assert left["new/i/catalog.sqlite"]


def test_a_new_data_directory_keeps_its_folders(tmp_path: Path) -> None:
    """`indexes/` was made after the sync, so every index in it hung on a name that could vanish."""
    script = """
import sys
import threading
import time
from pathlib import Path
from service import making
from service.home import Home, log, queue
from service.home.home import FORMAT
from service.home.queue import Task
from service.home.registry import Entry
from service.problems import ProblemError
from service.wire.indexes import CreateIndex
from service.worker import Worker, learning
from service.worker.job import Job, Shelf
Home.open(Path(sys.argv[1]) / "data").close()
"""
    left = surviving(tmp_path, script)
    assert {"data/indexes", "data/snapshots", "data/tasks"} <= left.keys()
    assert left["data/service.sqlite"]


def test_a_data_directory_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    """A kill in the first second left `service.sqlite.new` alone in the directory, which every
    later start then refused as no data directory.
    """
    data = tmp_path / "data"
    data.mkdir()
    (data / "service.sqlite.new").write_bytes(b"half")
    (data / "service.sqlite.new-wal").write_bytes(b"")
    with Home.open(data) as home:
        assert home.setting("format") == FORMAT
    assert not list(data.glob("*.new*"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is no data directory"):
        Home.open(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").exists()


def run_one_task(home: Home) -> None:
    """Queue a task that ends at once, and not well, and wait until a worker has run it."""
    with home.transaction() as connection:
        number = queue.enqueue(connection, "snapshot_verify", None, {"snapshot": "no"})
    give_up = time.monotonic() + 20
    while not queue.task_of(home, number).over:
        assert time.monotonic() < give_up, "still queued"
        time.sleep(0.01)


def test_a_task_that_comes_while_another_ends_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker looked for tasks between the last commit of one and its end, found the next one
    waiting for the same index, and looked again only at the next commit of anybody: a snapshot
    that was verified right after another stayed queued until somebody wrote something.
    """
    finish = Worker._finish

    def finish_slowly(self: Worker, task: Task, state: str, **outcome: object) -> None:
        finish(self, task, state, **outcome)
        time.sleep(0.2)

    monkeypatch.setattr(Worker, "_finish", finish_slowly)
    with Home.open(tmp_path / "data") as home:
        worker = Worker(home)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            for _ in range(2):
                run_one_task(home)
        finally:
            worker.stop()
            thread.join()


def test_a_worker_that_cannot_begin_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died of a disk that was full, or a page that was damaged, just as it cleared up after the
    worker before; inside a server nobody started it again.
    """
    real, calls = queue.recover, []

    def recover(home: Home) -> None:
        calls.append(home)
        if len(calls) < 3:
            raise (DiskFull("the disk is full"), OSError("too many open files"))[len(calls) - 1]
        real(home)

    def prune(home: Home) -> list[int]:
        raise OSError("too many open files")

    monkeypatch.setattr(queue, "prune", prune)  # which can wait
    monkeypatch.setattr(queue, "recover", recover)
    monkeypatch.setattr("service.worker.worker.RETRY_S", 0.01)
    with Home.open(tmp_path / "data") as home:
        worker = Worker(home)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            run_one_task(home)
        finally:
            worker.stop()
            thread.join()
    assert len(calls) == 3


def test_the_worker_lets_go_of_indexes_that_were_deleted(tmp_path: Path) -> None:
    """The soak found five descriptors and a megabyte more in the worker for each index that a
    client made, filled and deleted: it kept them open for good.
    """
    with Home.open(tmp_path / "data") as home:
        shelf = Shelf(home)
        for name in ("first", "second"):
            path = home.path / "indexes" / name
            Index.create(path, n_terms=5, max_weight=4.0).close()
            shelf.index(Entry(name, path, 0.0, {}))
            if name == "first":
                shutil.rmtree(path)
        gc.collect()
        held = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        assert not [one for one in held if "/indexes/first/" in one]
        assert [one for one in held if "/indexes/second/" in one]
        shelf.close()


def test_a_task_that_leaves_no_files_leaves_no_folder(tmp_path: Path) -> None:
    """The soak counted an empty directory for each ingestion, for good."""
    with Home.open(tmp_path / "data") as home:
        worker = Worker(home)
        for kept in (False, True):
            with home.transaction() as connection:
                number = queue.enqueue(connection, "ingest", "gone", {})
            folder = home.path / "tasks" / str(number)
            folder.mkdir()
            if kept:
                (folder / "rejects.ndjson").write_text("{}")
            worker._finish(queue.task_of(home, number), "succeeded")
            assert folder.exists() == kept


def test_an_index_that_is_deleted_while_it_learns_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The soak found its directory there until the next start, and the task had failed with an
    internal error.
    """
    with Home.open(tmp_path / "data") as home:
        making.create(home, CreateIndex(name="pets"))
        shelf = Shelf(home)
        with home.transaction() as connection:
            number = queue.enqueue(connection, "ingest", "pets", {})
            line = b'{"id": "a", "fields": {"text": "a cat"}}'
            log.append(connection, number, log.Chunk(0, 1, (line,)))
        job = Job(queue.task_of(home, number), shelf, threading.Event())
        real = learning.empty_index

        def slowly(*arguments: Any, **options: Any) -> Index:
            made = real(*arguments, **options)
            making.remove(home, shelf.entry("pets"))
            return made

        monkeypatch.setattr(learning, "empty_index", slowly)
        with pytest.raises(ProblemError, match="pets"):
            learning.learned(job, shelf.entry("pets"))
        assert list((home.path / "indexes").iterdir()) == []
        shelf.close()


def test_snapshots_are_listed_while_one_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing failed with 500 when a manifest went between two looks at it (soak)."""
    with Index.create(tmp_path / "i", n_terms=5, max_weight=4.0) as index:
        index.backup(tmp_path / "copies" / "one")
        index.backup(tmp_path / "copies" / "two")
    read = Path.read_bytes

    def deleted(path: Path) -> bytes:
        if path.parent.name == "one":
            raise FileNotFoundError(path)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", deleted)
    assert [path.name for path, _ in snapshots_in(tmp_path / "copies")] == ["two"]


def test_the_files_of_an_encoder_keep_their_names(tmp_path: Path) -> None:
    """Saving synced the bytes and the folder's name, not the names in the folder: after power loss
    a built index could hold an empty `encoder/`.
    """
    script = """
import sys
import threading
import time
from pathlib import Path
from lsr.encoders.bm25 import BM25Encoder
BM25Encoder.fit(["a cat", "a dog"]).save(Path(sys.argv[1]) / "e")
"""
    left = surviving(tmp_path, script)
    real = {path.name: path.read_bytes() for path in (tmp_path / "disk" / "e").iterdir()}
    assert real
    assert {name: left.get(f"e/{name}") for name in real} == real


def test_a_checkpoint_that_was_torn_is_not_taken_for_damage(tmp_path: Path) -> None:
    """Power may be lost while the log is written back, in the middle of a page that makes the
    catalog longer. The log still holds everything, yet opening said the file was cut off.
    """
    with Index.create(tmp_path / "i", n_terms=5, max_weight=4.0) as index:
        vectors = sparse.csr_array(np.array([[0, 1, 0, 0, 0]], np.float32))
        index.add([Document("a", {"text": "x" * 30_000})], vectors)
        shutil.copytree(tmp_path / "i", tmp_path / "lost")
    (tmp_path / "lost" / "catalog.sqlite-shm").unlink()
    with (tmp_path / "lost" / "catalog.sqlite").open("ab") as file:
        file.write(bytes(512))
    for _ in range(2):  # once with the log, once when closing has written it back
        with Index.open(tmp_path / "lost") as index:
            assert index.search(vectors).doc_ids == ["a"]
            assert index.check().problems == ()


def test_an_index_that_was_only_read_leaves_one_catalog_file(tmp_path: Path) -> None:
    """SQLite takes an empty log for none and left it and its shared memory behind at closing."""
    Index.create(tmp_path / "i", n_terms=5, max_weight=4.0).close()
    Index.open(tmp_path / "i").close()
    assert sorted(path.name for path in (tmp_path / "i").iterdir()) == [
        "catalog.sqlite",
        "segments",
    ]
