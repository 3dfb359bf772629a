"""`Engine`: the opened indexes by name, each with the encoder of its queries.

Opening happens in a thread of its own, so that a server with big encoders answers `/livez` and
says in `/readyz` what it waits for. One `Index` object is shared by all threads; it sees commits of
other processes at its next search. An index that cannot be opened is kept as a failure and told to
whoever asks for it, while the others are served.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from index import Index, query_encoder
from lsr.encoders import SparseEncoder
from lsr.errors import LsrError

from .problems import ProblemError, did_you_mean
from .settings import Settings

log = logging.getLogger("lsr.service")

State = Literal["opening", "ready", "failed"]


class Collection:
    """One open index, and the encoder of its queries unless it was built from vectors.

    `encoder_label` is name@build, as answers report it.
    """

    def __init__(self, name: str, index: Index, encoder: SparseEncoder | None) -> None:
        self.name = name
        self.index = index
        self.encoder = encoder
        # Read once: an encoder may compute its fingerprint whenever it is asked.
        self.encoder_label = None if encoder is None else f"{encoder.name}@{encoder.build}"

    @classmethod
    def open(cls, name: str, path: Path, encoder_folder: Path | None) -> "Collection":
        """Open an index and load its encoder; raises what either raises."""
        index = Index.open(path)
        try:
            from_vectors = index.encoder is None and not index.encoder_folder.is_dir()
            if encoder_folder is None and from_vectors:
                return cls(name, index, None)
            encoder = query_encoder(index, encoder_folder)
            # A network that cannot load (no torch, say) must show now, not at the first request.
            encoder.encode_queries(["ready"])
            return cls(name, index, encoder)
        except BaseException:
            index.close()
            raise

    @cached_property
    def term_numbers(self) -> Mapping[str, int]:
        """Vocabulary entry -> term number; made when the first query of tokens comes."""
        if self.encoder is None:
            return {}
        numbers: dict[str, int] = {}
        for number, term in enumerate(self.encoder.term_strings(range(self.index.n_terms))):
            numbers.setdefault(term, number)
        return numbers


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an index could not be opened: `reason` for clients, `error` for the log."""

    reason: str
    error: Exception


class Engine:
    """What `settings` asks to serve, from the start of opening to the last search."""

    def __init__(
        self, settings: Settings, *, on_opened: Callable[["Engine"], None] | None = None
    ) -> None:
        self.settings = settings
        self._on_opened = on_opened
        self._places: dict[str, Collection | Failure | None] = dict.fromkeys(settings.indexes)
        self._closing = threading.Event()
        self._reopening = threading.Lock()
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

    @property
    def names(self) -> list[str]:
        """Served names, in the order of the settings."""
        return list(self._places)

    def state(self, name: str) -> State:
        """How far the opening of a served index is."""
        place = self._places[name]
        if place is None:
            return "opening"
        return "ready" if isinstance(place, Collection) else "failed"

    def failures(self) -> dict[str, Failure]:
        """The indexes that could not be opened."""
        return {name: one for name, one in self._places.items() if isinstance(one, Failure)}

    def collections(self) -> list[Collection]:
        """The indexes that are open."""
        return [place for place in self._places.values() if isinstance(place, Collection)]

    def collection(self, name: str) -> Collection:
        """The open index of this name. Raises a `ProblemError` that says what stands in the way."""
        if name not in self._places:
            names = ", ".join(f"'{one}'" for one in self._places) or "none"
            raise ProblemError(
                "unknown_index",
                f"There is no index '{name[:100]}' here; served: {names}.",
                hint=did_you_mean(name, self._places),
                extensions={"available": self.names},
            )
        place = self._places[name]
        if place is None:
            raise ProblemError(
                "not_ready",
                f"Index '{name}' is being opened.",
                hint="Try again in a moment; /readyz tells when.",
                headers={"Retry-After": "1"},
            )
        if isinstance(place, Failure):
            raise ProblemError(
                "index_unavailable",
                f"Index '{name}' {place.reason}.",
                hint="The server's log says why; `lsr check` examines an index.",
            )
        if not place.index.in_place():
            place = self._reopened(place)
        return place

    def _reopened(self, old: Collection) -> Collection:
        """The index that now lies where `old` was opened, after `lsr index --overwrite`."""
        with self._reopening:
            current = self._places[old.name]
            if isinstance(current, Collection) and current.index.in_place():
                return current  # another request was quicker
            path = self.settings.indexes[old.name]
            try:
                fresh = Collection.open(old.name, path, self.settings.encoders.get(old.name))
            except LsrError as error:
                log.error("index '%s' was replaced and cannot be opened: %s", old.name, error)
                raise ProblemError(
                    "index_unavailable",
                    f"Index '{old.name}' was replaced and cannot be opened.",
                    hint="The server's log says why; `lsr check` examines an index.",
                ) from error
            self._places[old.name] = fresh
            log.info("reopened   %s   the index at its place is another one", old.name)
            return fresh

    def _open_all(self) -> None:
        for name, path in self.settings.indexes.items():
            if self._closing.is_set():
                break
            started = time.perf_counter()
            try:
                collection = Collection.open(name, path, self.settings.encoders.get(name))
            except Exception as error:
                # Whatever it is, this index is not served, the others are, and nobody is left
                # waiting.
                reason = f"cannot be opened ({type(error).__name__})"
                self._places[name] = Failure(reason, error)
                log.error(
                    "index '%s' %s: %s",
                    name,
                    reason,
                    error,
                    exc_info=not isinstance(error, LsrError),
                )
            else:
                self._places[name] = collection
                log.info(
                    "opened     %s   %s documents, %s, %.2f s",
                    name,
                    f"{collection.index.n_docs:,}",
                    f"encoder {collection.encoder_label}" if collection.encoder else "vectors only",
                    time.perf_counter() - started,
                )
        self._opened.set()
        if self._on_opened is not None and not self._closing.is_set():
            self._on_opened(self)
        self._scrub_all()

    def _scrub_all(self) -> None:
        """Read every byte once; an index with a damaged segment is served no longer."""
        for collection in self.collections():
            if self._closing.is_set():
                break
            try:
                collection.index.scrub()
            except LsrError as error:
                self._places[collection.name] = Failure("is damaged", error)
                log.error("index '%s' is damaged and out of service: %s", collection.name, error)
