"""What a running task has at hand: its index, encoders, a place to report to.

Indexes and document encoders are opened once and kept, since opening a network costs seconds.
"""

import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index import Index, as_built, check_same_space, document_folder, query_encoder
from lsr.encoders import SparseEncoder, load_encoder

from ..duties import Duties
from ..home import Home, queue
from ..home.queue import Task
from ..home.registry import Entry, Registry, unknown_index
from ..problems import ProblemError

REPORT_EVERY_S = 0.25
DISCARD_S = 30.0


class CanceledError(Exception):
    """Somebody asked for the end of a task."""


class Shelf:
    """Open indexes and document encoders of one worker; safe for its threads."""

    def __init__(self, home: Home, duties: Duties | None = None) -> None:
        self.home = home
        self._duties = duties or Duties()
        self._lock = threading.Lock()
        self._indexes: dict[Path, Index] = {}
        self._encoders: dict[str, SparseEncoder] = {}
        self._query_encoders: dict[Path, tuple[Index, SparseEncoder]] = {}
        self._discarded: list[tuple[float, Path]] = []

    def registry(self) -> Registry:
        """Which indexes there are now."""
        return Registry.read(self.home, self._duties.mounts)

    def entry(self, name: str) -> Entry:
        """The index of this name or alias. Raises the problem `unknown_index`."""
        return self.registry().resolve(name)

    def index(self, entry: Entry) -> Index:
        """The open index; raises what opening raises."""
        with self._lock:
            kept = self._indexes.get(entry.path)
            if kept is None or not kept.in_place():
                # Those that were deleted since go with the last task that still has them.
                self._indexes = {at: one for at, one in self._indexes.items() if one.in_place()}
                kept = self._indexes[entry.path] = Index.open(entry.path)
                if kept.retained_seconds != self._duties.cursor_s:
                    kept.retain(self._duties.cursor_s)
            return kept

    def opened(self) -> list[Entry]:
        """The indexes that tasks have opened and that are still there."""
        with self._lock:
            known = set(self._indexes)
        return [entry for entry in self.registry().entries.values() if entry.path in known]

    def document_encoder(self, entry: Entry, index: Index) -> SparseEncoder | None:
        """What turns documents into vectors of this index; None where it takes vectors only.

        Raises `EncoderError` when it is gone or is another one.
        """
        folder = self._duties.encoders.get(entry.name)
        if folder is None and index.encoder is not None:
            folder = document_folder(index)
        if folder is None:
            return None
        with self._lock:
            key = str(folder)
            encoder = self._encoders.get(key)
            if encoder is None:
                there = {at: one for at, one in self._encoders.items() if Path(at).is_dir()}
                encoder = there[key] = load_encoder(folder)
                self._encoders = there
        check_same_space(index, encoder)
        return as_built(index, encoder)

    def query_encoder(self, entry: Entry, index: Index) -> SparseEncoder | None:
        """What reads queries for this index; None where it was built from vectors."""
        folder = self._duties.encoders.get(entry.name)
        if folder is None and index.encoder is None and not index.encoder_folder.is_dir():
            return None
        with self._lock:
            kept = self._query_encoders.get(entry.path)
            if kept is None or kept[0] is not index:
                kept = self._query_encoders[entry.path] = (index, query_encoder(index, folder))
            return kept[1]

    def forget(self, path: Path) -> None:
        """Close the index at a path that is to be deleted."""
        with self._lock:
            index = self._indexes.pop(path, None)
        if index is not None:
            index.close()

    def discard(self, path: Path) -> None:
        """Remove an index directory that no name means any more, once requests that found it by
        its name are surely over; if this process ends before, a later start removes it.
        """
        self.forget(path)
        with self._lock:
            self._discarded.append((time.monotonic() + DISCARD_S, path))

    def sweep(self) -> None:
        """Remove what was discarded long enough ago."""
        now = time.monotonic()
        with self._lock:
            due = [path for at, path in self._discarded if at <= now]
            self._discarded = [(at, path) for at, path in self._discarded if at > now]
        for path in due:
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Close every index."""
        with self._lock:
            for index in self._indexes.values():
                index.close()
            self._indexes.clear()


@dataclass
class Job:
    """One running task."""

    task: Task
    shelf: Shelf
    stopping: threading.Event
    _reported: float = 0.0
    _progress: Mapping[str, Any] | None = None

    @property
    def home(self) -> Home:
        """The data directory."""
        return self.shelf.home

    @property
    def folder(self) -> Path:
        """Files of this task."""
        folder = self.home.path / "tasks" / str(self.task.id)
        folder.mkdir(exist_ok=True)
        return folder

    def entry(self) -> Entry:
        """The task's index. Raises the problem `unknown_index` when it was deleted, and where it
        lies elsewhere and is not served now, whatever else has its name.
        """
        name, where = self.task.lane
        if name is None:
            raise ProblemError("internal_error", f"A task of kind {self.task.kind} names no index.")
        entry = self.shelf.entry(name)
        if where is not None and not (entry.mounted and str(entry.path) == where):
            raise unknown_index(name, [])
        return entry

    def remembered(self, index: Index, key: str, *, mounted: bool) -> dict[str, Any] | None:
        """What `index` remembers of this task under `key`, which is of this data directory.

        Another one that serves the index has tasks of the same numbers. The release before knew no
        such keys: of what it wrote the number must do, where nobody else serves the index.
        """
        known = index.remembered(self.key(key))
        if known is None and not mounted:
            known = index.remembered(key)
            if known is not None and "created" not in known and known["task"] == self.task.id:
                return {**known, "created": self.task.created}
        if known is None or known["task"] != self.task.id:
            return None
        return dict(known) if known.get("created") == self.task.created else None

    def key(self, key: str) -> str:
        """What an index remembers under for tasks of this data directory."""
        return f"{key}:{self.home.id}"

    def report(self, progress: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        """Tell how far it is, some times a second. Raises `CanceledError` when that is wanted,
        `InterruptedError` when the worker stops: it will begin again where it was.
        """
        if self.stopping.is_set():
            raise InterruptedError
        self._progress = progress
        now = time.monotonic()
        if now - self._reported < REPORT_EVERY_S:
            return
        self._reported = now
        if queue.report(self.home, self.task.id, progress, details):
            raise CanceledError

    def done(self) -> Mapping[str, Any] | None:
        """The progress of a task that is done: all of it, where it ever told how much that is."""
        if self._progress is None:
            return None
        total = self._progress.get("total")
        return {**self._progress, "done": self._progress["done"] if total is None else total}
