"""`Engine`: the opened indexes by name, each with the encoder of its queries.

Opening happens in a thread of its own, so that a server with big encoders answers `/livez` and
says in `/readyz` what it waits for. One `Index` object is shared by all threads; it sees commits of
other processes at its next search. An index that cannot be opened is kept as a failure and told to
whoever asks for it, while the others are served.

Which indexes there are is asked of the data directory at every request (microseconds), so that what
another process creates, deletes or renames is noticed; such an index is opened when it is first
asked for, or half a second later by itself. One that failed is opened again when its files have
changed, as after `lsr repair`.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import orjson

from lsr.errors import LsrError

from .collection import Collection
from .footprint import Footprint, footprint
from .home import Home
from .home.registry import Registry
from .pressure import Pressure
from .problems import ProblemError
from .settings import Settings

log = logging.getLogger("lsr.service")

State = Literal["opening", "ready", "failed"]
FOLLOW_S = 0.5
"""Between two looks for indexes that other processes have made."""


@dataclass(slots=True)
class Progress:
    """What is being done to an index, since when (monotonic), and what of it is verified.

    Verifying goes on while the index is served; `verified` of `n_bytes` are read so far.
    """

    step: str
    since: float
    verified: int = 0
    n_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an index could not be opened: `reason` for clients, `error` for the log.

    `files` were there when it was tried: once they have changed it is worth another try.
    """

    path: Path
    reason: str
    error: Exception
    files: Footprint


class Engine:
    """What `settings` asks to serve, from the start of opening to the last search."""

    def __init__(
        self, settings: Settings, *, on_opened: Callable[["Engine"], None] | None = None
    ) -> None:
        self.settings = settings
        self.home = None if settings.home is None else Home.open(settings.home)
        self.pressure = None if self.home is None else Pressure(self.home, settings.watermarks)
        self._on_opened = on_opened
        self._registry = self._read_registry()
        self._places: dict[str, Collection | Failure] = {}
        self._progress: dict[str, Progress] = {}
        self.secret = settings.secret or _secret(self.home)
        """Signs cursors; every process that serves the same indexes needs the same."""
        self.ending = threading.Event()
        """The server takes no more requests: what only waits is to be answered now."""
        self._closing = threading.Event()
        self._changing = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}
        self._unread: list[Collection] = []
        """Opened, and not yet verified to the last byte."""
        self._opened = threading.Event()
        self._opener = threading.Thread(target=self._open_all, name="open-indexes", daemon=True)

    def start(self) -> None:
        """Begin to open; returns at once."""
        self._opener.start()

    def wait(self, timeout: float) -> bool:
        """Wait until every index is open or has failed; False when the time is over first."""
        return self._opened.wait(timeout)

    def close(self) -> None:
        """Close every index; searches that are running finish on what they hold."""
        self._closing.set()
        if self._opener.ident is not None:
            self._opener.join()
        for place in self._places.values():
            if isinstance(place, Collection):
                place.index.close()
        if self.home is not None:
            self.home.close()

    def writable_home(self) -> Home:
        """The data directory. Raises the problem `no_data_directory` where there is none."""
        if self.home is None:
            raise ProblemError(
                "no_data_directory",
                "This server only reads the indexes that it was started with.",
                hint="Start it with --data DIR to create and change indexes.",
            )
        return self.home

    def registry(self) -> Registry:
        """Which indexes and aliases there are now."""
        if self.home is not None and self.home.changed() != self._registry.version:
            with self._changing:
                self._registry = self._read_registry(but=self._registry.shadowed)
                entries = self._registry.entries
                for name, place in list(self._places.items()):
                    if name not in entries or entries[name].path != place.path:
                        # Closed when the last request that searches it lets go of it.
                        del self._places[name]
        return self._registry

    def _read_registry(self, *, but: tuple[str, ...] = ()) -> Registry:
        """The registry as it is now; a name that became two indexes is logged once."""
        read = Registry.read(self.home, self.settings.indexes)
        for name in read.shadowed:
            if name not in but:
                log.error(
                    "'%s' is now in the data directory too, where nobody reaches it: that name "
                    "means the index that was named on the command line",
                    name,
                )
        return read

    @property
    def names(self) -> list[str]:
        """Served names."""
        return list(self.registry().entries)

    def state(self, name: str) -> State:
        """How far the opening of a served index is."""
        place = self._places.get(name)
        if place is None:
            return "opening"
        return "ready" if isinstance(place, Collection) else "failed"

    def progress(self, name: str) -> Progress | None:
        """What is being done to an index; None for one that waits for its turn."""
        return self._progress.get(name)

    def retry(self) -> None:
        """Forget failures, so that such an index is opened again when it is next asked for."""
        for name in self.failures():
            with self._changing:
                self._places.pop(name, None)
            entry = self.registry().entries.get(name)
            if entry is not None:
                self._open(name, entry.path)

    def fallbacks(self, name: str) -> list[dict[str, Any]]:
        """When an open index went back from a damaged segment, the newest last."""
        place = self._places.get(name)
        if not isinstance(place, Collection):
            return []
        return [one for one in place.index.fallbacks() if one["why"] != "asked for"]

    def failures(self) -> dict[str, Failure]:
        """The indexes that could not be opened."""
        return {name: one for name, one in self._places.items() if isinstance(one, Failure)}

    def collections(self) -> list[Collection]:
        """The indexes that are open."""
        return [place for place in self._places.values() if isinstance(place, Collection)]

    def collection(self, name: str) -> Collection:
        """The open index of this name or alias. Raises a `ProblemError` that says what stands in
        the way.
        """
        entry = self.registry().resolve(name)
        place = self._places.get(entry.name)
        if place is None:
            if not self._opened.is_set():
                raise ProblemError(
                    "not_ready",
                    f"Index '{entry.name}' is being opened.",
                    hint="Try again in a moment; /readyz tells when.",
                    headers={"Retry-After": "1"},
                )
            place = self._open(entry.name, entry.path)
        if isinstance(place, Failure):
            raise ProblemError(
                "index_unavailable",
                f"Index '{entry.name}' {place.reason}.",
                hint="The server's log says why; `lsr doctor` examines what lies on its disk.",
            )
        if not place.index.in_place():
            place = self._reopened(place)
        return place

    def _reopened(self, old: Collection) -> Collection:
        """The index that now lies where `old` was opened, after `lsr index --overwrite`."""
        with self._lock_of(old.name):
            current = self._places.get(old.name)
            if isinstance(current, Collection) and current.index.in_place():
                return current  # another request was quicker
            try:
                fresh = self._collection_of(old.name, old.path)
            except LsrError as error:
                log.error("index '%s' was replaced and cannot be opened: %s", old.name, error)
                raise ProblemError(
                    "index_unavailable",
                    f"Index '{old.name}' was replaced and cannot be opened.",
                    hint="The server's log says why; `lsr doctor` examines what lies on its disk.",
                ) from error
            self._places[old.name] = fresh
            self._unread.append(fresh)
            log.info("reopened   %s   the index at its place is another one", old.name)
            return fresh

    def _open(self, name: str, path: Path) -> Collection | Failure:
        """Open one index, or find it opened by another request meanwhile."""
        with self._lock_of(name):
            there = self._places.get(name)
            if there is not None and there.path == path:
                return there
            started = time.perf_counter()
            place: Collection | Failure
            files = footprint(path)
            try:
                place = self._collection_of(name, path, doing=lambda step: self._doing(name, step))
            except Exception as error:
                # Whatever it is, this index is not served, the others are, and nobody is left
                # waiting.
                place = Failure(path, f"cannot be opened ({type(error).__name__})", error, files)
                log.error(
                    "index '%s' %s: %s",
                    name,
                    place.reason,
                    error,
                    exc_info=not isinstance(error, LsrError),
                )
            else:
                log.info(
                    "opened     %s   %s documents, %s, %.2f s",
                    name,
                    f"{place.index.n_docs:,}",
                    f"encoder {place.encoder_label}" if place.encoder else "vectors only",
                    time.perf_counter() - started,
                )
            self._places[name] = place
            if isinstance(place, Collection):
                self._unread.append(place)
            self._doing(name, "serving" if isinstance(place, Collection) else "failed")
            return place

    def _collection_of(
        self, name: str, path: Path, *, doing: Callable[[str], None] = lambda step: None
    ) -> Collection:
        settings = self.settings
        encoder = settings.encoders.get(name)
        return Collection.open(name, path, encoder, doing=doing, ray=settings.ray)

    def _doing(self, name: str, step: str) -> None:
        self._progress[name] = Progress(step, time.monotonic())

    def _lock_of(self, name: str) -> threading.Lock:
        with self._changing:
            return self._opening.setdefault(name, threading.Lock())

    def _open_all(self) -> None:
        for name, entry in self._registry.entries.items():
            if self._closing.is_set():
                break
            self._open(name, entry.path)
        self._opened.set()
        if self._on_opened is not None and not self._closing.is_set():
            self._on_opened(self)
        self._scrub()
        while not self._closing.wait(FOLLOW_S):
            self._follow()
            self._scrub()

    def _follow(self) -> None:
        """Open what another process has made, before the first search of it has to wait, and what
        it has mended.
        """
        entries = self.registry().entries
        for name, entry in entries.items():
            if self._closing.is_set():
                return
            place = self._places.get(name)
            if place is None:
                self._open(name, entry.path)
            elif isinstance(place, Failure) and footprint(place.path) != place.files:
                self._try_again(name, place)
        with self._changing:
            for name in self._opening.keys() - entries.keys():
                del self._opening[name]

    def _try_again(self, name: str, failed: Failure) -> None:
        """Serve an index whose files have changed since it failed, if every byte is sound now."""
        place: Collection | Failure
        files = footprint(failed.path)
        try:
            place = self._collection_of(name, failed.path)
            try:
                place.index.scrub()
            except BaseException:
                place.index.close()
                raise
        except Exception as error:  # as in `_open`: told to whoever asks, and tried again later
            place = Failure(failed.path, failed.reason, error, files)
        with self._changing:
            if self._places.get(name) is failed:
                self._places[name] = place
            elif isinstance(place, Collection):  # deleted or opened by others meanwhile
                place.index.close()
                return
        if isinstance(place, Failure):
            log.error("index '%s' has changed but is still out of service: %s", name, place.error)
        else:
            log.info("reopened   %s   its files have changed, and every byte is verified", name)
            self._doing(name, "serving")
            self._unread.append(place)  # costs nothing now, and tells how much is verified

    def _scrub(self) -> None:
        """Read every byte of what was opened; a damaged index is served no longer."""
        while self._unread and not self._closing.is_set():
            collection = self._unread.pop(0)
            if self._places.get(collection.name) is not collection:
                continue  # deleted or replaced meanwhile
            progress = self._progress[collection.name]
            try:
                collection.index.scrub(done=partial(_verified, progress))
            except LsrError as error:
                if self._places.get(collection.name) is collection:
                    files = footprint(collection.path)
                    failed = Failure(collection.path, "is damaged", error, files)
                    self._places[collection.name] = failed
                    log.error("index '%s' is damaged, out of service: %s", collection.name, error)


def _verified(progress: Progress, n: int, of: int) -> None:
    progress.verified, progress.n_bytes = n, of


def _secret(home: Home | None) -> bytes:
    """That of the data directory, so that cursors outlive the process; else one for this process.

    The first process to need it draws it; of two at the same time one wins, for both.
    """
    if home is None:
        return secrets.token_bytes(32)
    if home.setting("secret") is None:
        with home.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO settings VALUES('secret', ?)",
                (orjson.dumps(secrets.token_hex(32)),),
            )
    return bytes.fromhex(home.setting("secret"))
