"""Processes that the supervisor forks: how each begins, says that it is ready, and ends."""

import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import orjson

from .metrics.board import retire

log = logging.getLogger("lsr.service")

TICK_S = 0.1
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""Blocked in the supervisor, which waits for them; open in the processes it forks."""

Report = Callable[[Sequence[str], str | None], None]
"""Called by a process once: its lines for the operator, and an error if it cannot serve."""


@dataclass(frozen=True)
class Role:
    """What a process does. `run` returns its exit code; it is told whether others stand in while it
    opens what it serves. `grace_s` is how long its end may take.
    """

    name: str
    run: Callable[[Report, bool], int]
    grace_s: float


@dataclass
class Child:
    """A process; `said` is what it reported, `pipe` where from."""

    role: Role
    pid: int
    pipe: int
    started: float
    said: bytes = b""
    ready: bool = False

    @property
    def name(self) -> str:
        """ROLE-PID, as its counts and log lines have it."""
        return f"{self.role.name}-{self.pid}"


def start(role: Role, others: Iterable[Child], *, replaces: bool) -> Child:
    """Fork a process of this role; `others` run already, and their pipes are none of its."""
    read, write = os.pipe()
    parent = os.getpid()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        for other in others:
            os.close(other.pipe)
        _run(role, write, parent, replaces)
    os.close(write)
    os.set_blocking(read, False)
    return Child(role, pid, read, time.monotonic())


def _run(role: Role, pipe: int, parent: int, replaces: bool) -> NoReturn:
    """The life of a process. It never returns to the code that forked it."""
    code = 1
    try:
        os.setsid()  # Ctrl-C reaches the supervisor alone
        for number in HANDLED:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()

        def report(lines: Sequence[str], error: str | None) -> None:
            os.write(pipe, orjson.dumps([list(lines), error]))
            os.close(pipe)

        code = role.run(report, replaces)
    except BaseException:
        log.exception("process %s-%d ended by an error", role.name, os.getpid())
    finally:
        sys.stderr.flush()
        os._exit(code)  # nothing of the supervisor's may be cleaned up here


def _follow(parent: int) -> None:
    """End when the supervisor was killed: nobody else would say so."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def listen(children: Iterable[Child]) -> None:
    """Read what processes report; a report without error, and then the end, means ready."""
    for child in children:
        while not child.ready:
            try:
                piece = os.read(child.pipe, 65536)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                break
            child.said += piece
            if not piece:
                child.ready = bool(child.said) and error_of(child) is None
                break


def lines_of(child: Child) -> list[str]:
    """What a process that is ready has for the operator."""
    return list(orjson.loads(child.said)[0])


def error_of(child: Child) -> str | None:
    """Why it cannot serve, if it said so."""
    return str(said) if child.said and (said := orjson.loads(child.said)[1]) is not None else None


def becomes_ready(child: Child, *, within_s: float) -> bool:
    """Wait until it is ready, has failed, or somebody wants the end of everything."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        listen([child])
        if child.ready:
            return True
        if error_of(child) is not None or _is_gone(child) or is_ending():
            return False
        time.sleep(TICK_S)
    return False


def is_ending() -> bool:
    """Whether a signal waits that wants the end of everything."""
    return bool(signal.sigpending() & {signal.SIGTERM, signal.SIGINT})


def stop(folder: Path, children: Sequence[Child], *, hurried: bool = True) -> None:
    """SIGTERM, and SIGKILL for what has not ended in its grace; where it is `hurried`, at once on a
    second signal, which otherwise stays for whoever waits for it.
    """
    for child in children:
        _kill(child, signal.SIGTERM)
    waiting = list(children)
    deadline = time.monotonic() + max((child.role.grace_s for child in waiting), default=0.0)
    while waiting and time.monotonic() < deadline:
        waiting = [child for child in waiting if not has_ended(child)]
        if waiting and not hurried:
            time.sleep(TICK_S)
            continue
        got = signal.sigtimedwait(HANDLED, TICK_S) if waiting else None
        if got is not None and got.si_signo in (signal.SIGTERM, signal.SIGINT):
            break
    for child in waiting:
        log.error("process %s did not end in its grace and was killed", child.name)
        _kill(child, signal.SIGKILL)
        os.waitpid(child.pid, 0)
    for child in children:
        bury(folder, child)


def bury(folder: Path, child: Child) -> None:
    """Keep the counts of a process that has ended."""
    os.close(child.pipe)
    try:
        retire(folder, child.name)
    except OSError as error:  # a full disk; its own file goes on to be counted
        log.warning("the counts of %s stay apart: %s", child.name, error)


def has_ended(child: Child) -> bool:
    """Whether it is gone; the system forgets it then."""
    try:
        return os.waitpid(child.pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _is_gone(child: Child) -> bool:
    """Whether it is gone, without letting the system forget it."""
    ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return ended is not None


def _kill(child: Child, number: signal.Signals) -> None:
    try:
        os.kill(child.pid, number)
    except ProcessLookupError:
        return
