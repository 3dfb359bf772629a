"""What `/metrics` looks up at the moment it is asked: sizes, ages, tasks, processes."""

import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from lsr import __version__
from lsr.errors import LsrError

from ..collection import Collection as OpenIndex
from ..engine import Engine
from ..home import Home, log, queue
from . import names
from .board import Key
from .names import Metric

Sample = tuple[Metric, Key, float]
_STATES = ("receiving", "queued", "running", "succeeded", "failed", "canceled", "conflict")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def looked_up(engine: Engine, folder: Path | None) -> Iterator[Sample]:
    """Every sample, one after the other; `folder` is where sibling processes count."""
    yield names.BUILD, (__version__, os.environ.get("LSR_COMMIT", "unknown")), 1.0
    served = engine.names
    for name in served:
        yield names.INDEX_READY, (name,), float(engine.state(name) == "ready")
    for collection in engine.collections():
        try:
            yield from list(_of_index(collection))
        except LsrError:  # damaged, replaced or just closed: lsr_index_ready tells
            continue
    if engine.home is not None:
        with suppress(LsrError):  # damaged: what was counted is told all the same
            yield from list(_of_home(engine.home, served))
    yield from _of_processes(folder)


def _of_index(collection: OpenIndex) -> Iterator[Sample]:
    name = collection.name
    facts = collection.index.info()
    yield names.INDEX_DOCUMENTS, (name,), float(facts["n_docs"])
    yield names.INDEX_BYTES, (name, "catalog"), float(facts["catalog_bytes"])
    yield names.INDEX_BYTES, (name, "log"), float(_size(collection.path / "catalog.sqlite-wal"))
    yield names.INDEX_BYTES, (name, "segments"), float(facts["segment_bytes"])
    committed = collection.index.committed_at()
    if committed is not None:
        yield names.GENERATION_AGE, (name,), max(0.0, time.time() - committed)


def _of_home(home: Home, served: Collection[str]) -> Iterator[Sample]:
    counts = queue.counts(home)
    for state in _STATES:
        yield names.TASKS, (state,), float(counts.get(state, 0))
    oldest = home.rows("SELECT min(created) FROM tasks WHERE finished IS NULL")[0][0]
    yield names.OLDEST_TASK, (), 0.0 if oldest is None else max(0.0, time.time() - oldest)
    yield names.LOG_BYTES, (), float(log.n_bytes(home))
    yield names.DISK_FREE, (), float(home.free_bytes())
    aliases = {alias for (alias,) in home.rows("SELECT alias FROM aliases")}
    for name, value in home.rows(
        "SELECT index_name, value FROM effectiveness AS one WHERE at="
        "(SELECT max(at) FROM effectiveness WHERE index_name=one.index_name)"
    ):
        judged = (home.path / "judged" / f"{name}.json").is_file()  # else nobody measures any more
        if judged and (name in served or name in aliases):
            yield names.EFFECTIVENESS, (name,), float(value)


def _of_processes(folder: Path | None) -> Iterator[Sample]:
    """The boards of a shared folder are named KIND-PID; a process alone is its own."""
    if folder is None:
        processes = {"http": os.getpid()}
    else:
        processes = {
            path.stem: int(path.stem.rpartition("-")[2])
            for path in folder.glob("*-*.board")
            if path.stem.rpartition("-")[2].isdigit()
        }
        restarts = folder / "restarts"
        yield names.RESTARTS, (), float(restarts.stat().st_size if restarts.exists() else 0)
    for process, number in processes.items():
        place = Path("/proc") / str(number)
        try:
            resident = int((place / "statm").read_text().split()[1]) * _PAGE
            files = len(list((place / "fd").iterdir()))
        except OSError:  # it ends just now, or this is no Linux
            continue
        yield names.PROCESS_RESIDENT, (process,), float(resident)
        yield names.PROCESS_FILES, (process,), float(files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
