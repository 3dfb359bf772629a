"""`supervise`: several processes behind one listening socket, each started again when it dies.

    lsr serve --workers 2 --data DIR
      + http-PID     answers requests
      + http-PID     likewise; both map the same segments, so that their pages are in memory once
      + tasks-PID    the worker of the data directory

Processes are forked before anything is opened, so that libraries are shared as well and a new one
starts in milliseconds. The supervisor itself opens no index and runs no thread. SIGTERM and SIGINT
end all in good order: those that answer first, the worker after them, since a request may wait for
it. SIGHUP replaces one after the other by processes with the settings as they are now; the new one
is ready before the old one is told to go.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lsr.errors import IndexFailure

from .app import OPENING_S
from .metrics.board import read_all
from .metrics.history import FILE_NAME, History
from .processes import (
    HANDLED,
    TICK_S,
    Child,
    Role,
    becomes_ready,
    bury,
    error_of,
    has_ended,
    is_ending,
    lines_of,
    listen,
    start,
    stop,
)

log = logging.getLogger("lsr.service")

SHORT_LIFE_S = 5.0
LONGEST_PAUSE_S = 10.0


@dataclass
class _Place:
    """Where a process of a role runs, and when the next one may, if it does not."""

    role: Role
    child: Child | None = None
    again_at: float = 0.0
    failures: int = 0


@dataclass
class _State:
    folder: Path
    places: list[_Place] = field(default_factory=list)

    def children(self) -> list[Child]:
        return [place.child for place in self.places if place.child is not None]


def supervise(
    roles: Callable[[], Sequence[Role]],
    *,
    folder: Path,
    on_ready: Callable[[Sequence[str]], None],
    on_end: Callable[[], None],
) -> None:
    """Run a process of each role until SIGTERM or SIGINT.

    `roles` is asked at the start and at each SIGHUP. `folder` is where processes count
    (metrics/board.py). `on_ready` gets the lines of the first process when every one is ready;
    `on_end` is called before processes are told to end. Raises `IndexFailure` when a process cannot
    serve at the start.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    history = History(lambda: read_all(folder), file=folder / FILE_NAME)
    state = _State(folder, [_Place(role) for role in roles()])
    announced = False
    try:
        while True:
            _start_missing(state, replaces=announced)
            with _spare("the history"):
                history.tick(time.time())
            got = signal.sigtimedwait(HANDLED, TICK_S)
            listen(state.children())
            if got is not None and got.si_signo in (signal.SIGTERM, signal.SIGINT):
                return
            if got is not None and got.si_signo == signal.SIGHUP:
                _replace(state, roles)
            _reap(state, announced=announced)
            if not announced and all(place.child and place.child.ready for place in state.places):
                announced = True
                on_ready(lines_of(state.children()[0]))
    finally:
        on_end()
        _end(state)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_missing(state: _State, *, replaces: bool) -> None:
    for place in state.places:
        if place.child is None and time.monotonic() >= place.again_at:
            place.child = start(place.role, state.children(), replaces=replaces)


def _reap(state: _State, *, announced: bool) -> None:
    """Note which processes have ended. Before all were ready once, an end is a failure of ours."""
    for place in state.places:
        child = place.child
        if child is None or not has_ended(child):
            continue
        listen([child])
        bury(state.folder, child)
        place.child = None
        if not announced:
            why = error_of(child) or f"process {child.name} ended before it was ready"
            raise IndexFailure(why)
        lived = time.monotonic() - child.started
        place.failures = place.failures + 1 if lived < SHORT_LIFE_S else 0
        pause = min(LONGEST_PAUSE_S, 0.5 * 2.0**place.failures) if place.failures else 0.0
        place.again_at = time.monotonic() + pause
        log.error("process %s died; another one starts in %.1f s", child.name, pause)
        with _spare("the number of restarts"), (state.folder / "restarts").open("ab") as file:
            file.write(b".")


def _replace(state: _State, roles: Callable[[], Sequence[Role]]) -> None:
    """Let processes with new settings take the places of the old ones, one after the other."""
    try:
        wanted = list(roles())
    except Exception as error:
        log.error("the settings cannot be read, the old ones stay: %s", error)
        return
    old, state.places = state.places, []
    for role in wanted:
        same = next((place for place in old if place.role.name == role.name), None)
        if same is not None:
            old.remove(same)
        place = _Place(role)
        exclusive = role.name == "tasks"  # only one may hold the directory
        if exclusive and same is not None and same.child is not None:
            stop(state.folder, [same.child], hurried=False)
            same.child = None
        others = [*state.children(), *(p.child for p in old if p.child)]
        place.child = start(role, others, replaces=True)
        state.places.append(place)
        if not becomes_ready(place.child, within_s=OPENING_S):
            log.error("process %s does not get ready; the old one goes on", place.child.name)
            stop(state.folder, [place.child], hurried=False)
            place.child = None
            if same is not None:
                state.places[-1] = same
            if is_ending():  # SIGTERM or SIGINT came, which `supervise` looks for
                state.places += old
                return
            continue
        if same is not None and same.child is not None:
            stop(state.folder, [same.child], hurried=False)
    left = [place.child for place in old if place.child is not None]
    stop(state.folder, left, hurried=False)
    log.info("reloaded   %d processes run with the settings as they are now", len(state.places))


def _end(state: _State) -> None:
    """End everything: what answers requests first, then the worker that they may wait for."""
    children = state.children()
    stop(state.folder, [child for child in children if child.role.name != "tasks"])
    stop(state.folder, [child for child in children if child.role.name == "tasks"])


@contextmanager
def _spare(what: str) -> Iterator[None]:
    """Go on without what a full disk has no room for: serving matters more than what is told."""
    try:
        yield
    except OSError as error:
        log.warning("%s is not kept: %s", what, error)
