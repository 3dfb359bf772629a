"""`serve`: the app behind uvicorn, on loopback, until SIGTERM or Ctrl-C."""

import gc
import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import uvicorn

from index.shards import FILE_NAME as SHARDS
from lsr.errors import IndexNotFound, UsageError

from .app import create_app
from .browsers import LOOPBACK_NAMES
from .connections import WAIT_S, Connection
from .engine import Engine
from .home import FILE_NAME, Home, keys
from .home.registry import check_mounts
from .home.serving import only_server
from .limits import Limits
from .listening import address_of, listening
from .logs import Format, logging_to_stderr
from .metrics import Telemetry
from .processes import Report, Role
from .settings import Settings
from .supervisor import supervise
from .tracing import exporter_of, tracer_of
from .worker import work, worker_process
from .worker.process import STOP_S

log = logging.getLogger("lsr.service")

SWITCH_S = 0.0005
"""A thread that wants Python's lock has it after so long, instead of 5 ms. A request takes it some
twenty times.
"""
GRACE_S = 10
"""Seconds that running requests have to finish after SIGTERM."""


def serve(
    indexes: Mapping[str, Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    encoders: Mapping[str, Path] | None = None,
    home: Path | None = None,
    insecure: bool = False,
    access_log: bool = False,
    log_format: Format = "text",
    log_queries: float = 0.0,
    limits: Limits | None = None,
    origins: Sequence[str] = (),
    host_names: Sequence[str] = (),
    embed_index: str | None = None,
    workers: int = 1,
    read_only: bool = False,
) -> None:
    """Serve `indexes` by name until SIGTERM or SIGINT; running requests finish first.

    `home` is the data directory, made where there is none; its tasks run in a process of their own.
    Documents of `indexes` can be changed over HTTP too where there is one, unless `read_only`.
    More than one of `workers` are processes behind one socket (supervisor.py).

    Port 0 takes a free one. All output goes to stderr; the line that begins with `ready` names the
    address once every index is open. On loopback the server answers to its usual names and to
    `host_names`, elsewhere to any; pages of `origins` may use it from a browser.

    Raises `UsageError` for an address other than loopback where there is no key, unless `insecure`,
    `IndexLocked` where another server has the data directory, and the first error of opening when
    no index could be opened.
    """
    settings = Settings(
        indexes=dict(indexes),
        encoders=dict(encoders or {}),
        home=home,
        read_only=read_only,
        limits=limits or Limits(),
        origins=tuple(origins),
        host_names=names_on(host, host_names),
        access_log=access_log,
        log_queries=log_queries,
        embed_index=embed_index,
    )
    serve_settings(
        settings, host=host, port=port, insecure=insecure, log_format=log_format, workers=workers
    )


def serve_settings(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    insecure: bool = False,
    log_format: Format = "text",
    workers: int = 1,
    reload: Callable[[], Settings] | None = None,
) -> None:
    """Like `serve`; `reload` is asked for new settings when SIGHUP comes to several workers.

    One worker opens failed indexes again at SIGHUP, and goes on with its settings.
    """
    checkaddress_of(host, settings.home, insecure=insecure)
    exporter_of(os.environ)  # refused here rather than in each process
    for name, path in settings.indexes.items():
        if not path.is_dir():
            raise IndexNotFound(
                f"{path}: no such directory, it was to be served as '{name}'; build it with "
                f"`lsr index CORPUS {path}`"
            )
    with (
        listening(host, port) as listener,
        logging_to_stderr(log_format),
        ExitStack() as held,
    ):
        if not is_loopback(host) and not _has_keys(settings.home):
            line = f"insecure   listening on {host} without keys: anyone may read and change it all"
            log.warning("%s", click.style(line, fg="red") if sys.stderr.isatty() else line)
        if settings.home is not None:
            with Home.open(settings.home) as home:  # made, or refused, before anything is started
                check_mounts(home, settings.indexes)
            held.enter_context(only_server(settings.home))
        if workers > 1 and not hasattr(signal, "sigtimedwait"):
            raise UsageError("several workers need a system with sigtimedwait, such as Linux")
        if workers == 1:
            _serve_alone(settings, listener, log_format)
        else:
            # Every worker must read the cursors of the others; a data directory has its own secret.
            secret = settings.secret
            if secret is None and settings.home is None:
                secret = secrets.token_bytes(32)

            current = partial(_as_they_are, settings, reload, host, insecure=insecure)
            _serve_among(lambda: replace(current(), secret=secret), listener, workers)


def _as_they_are(
    before: Settings, reload: Callable[[], Settings] | None, host: str, *, insecure: bool
) -> Settings:
    """The settings as they are now. Raises `UsageError` for what no server may start with, either:
    an address that others reach without a key; and for another data directory, which nobody holds.
    """
    wanted = before if reload is None else reload()
    if wanted.home != before.home:
        raise UsageError(
            f"the data directory is {wanted.home or 'none'} now and was {before.home or 'none'}; "
            "stop the server and start it anew"
        )
    checkaddress_of(host, wanted.home, insecure=insecure)
    return wanted


def checkaddress_of(host: str, home: Path | None, *, insecure: bool) -> None:
    """Raise `UsageError` for an address that others reach where no key is asked for, unless
    somebody accepts that.
    """
    if not is_loopback(host) and not insecure and not _has_keys(home):
        where = "DIR` and serve with --data DIR" if home is None else f"{home}`"
        raise UsageError(
            f"refusing to listen on {host}: there is no key, so whoever reaches the port could "
            f"read every document. Make one with `lsr keys create --data {where}, listen on "
            "127.0.0.1 behind a proxy that authenticates, or accept the risk with --insecure"
        )


def names_on(host: str, others: Sequence[str] = ()) -> tuple[str, ...] | None:
    """The names that a server on this address goes by, None for any.

    Beyond loopback there are keys, which no browser sends for a page that rebound its name.
    """
    return (*LOOPBACK_NAMES, *others) if others or is_loopback(host) else None


def _has_keys(home: Path | None) -> bool:
    if home is None or not (home / FILE_NAME).is_file():
        return False
    with Home.open(home) as opened:
        return bool(keys.listed(opened))


def _serve_alone(settings: Settings, listener: socket.socket, log_format: Format) -> None:
    """This process answers; the worker of a data directory is a child of it."""
    failed: list[Exception] = []
    address = address_of(listener)
    opened: list[Engine] = []

    def on_opened(engine: Engine) -> None:
        opened.append(engine)
        if error := _failure(engine):
            failed.append(error)
            server.should_exit = True
        else:
            for line in _ready_lines(engine, address):
                log.info("%s", line)

    def on_hangup(*_: object) -> None:
        log.info("hangup     indexes that could not be opened are tried again")
        for engine in opened:
            threading.Thread(target=engine.retry, daemon=True).start()

    telemetry = Telemetry(tracer=tracer_of(os.environ, query_share=settings.log_queries))
    server = _http_server(settings, on_opened, telemetry)
    with _worker_of(settings, log_format), _signals_end_quietly(on_hangup):
        server.run(sockets=[listener])
    telemetry.close()
    if failed:
        raise failed[0]


def _serve_among(reload: Callable[[], Settings], listener: socket.socket, workers: int) -> None:
    """`workers` processes answer, one runs tasks, and this one looks after them."""

    def roles() -> list[Role]:
        settings = reload()
        if settings.home is not None:  # the file may name another index by now
            with Home.open(settings.home) as home:
                check_mounts(home, settings.indexes)
        found = [Role("http", partial(_http_process, settings, listener, folder), GRACE_S + 5)]
        found *= workers
        if settings.home is not None:
            found.append(Role("tasks", partial(_tasks_process, settings, folder), STOP_S))
        return found

    def on_ready(lines: Sequence[str]) -> None:
        for line in lines:
            log.info("%s", line)

    with tempfile.TemporaryDirectory(prefix="lsr-serve-") as place:
        folder = Path(place)
        supervise(roles, folder=folder, on_ready=on_ready, on_end=listener.close)


def _http_process(
    settings: Settings, listener: socket.socket, folder: Path, report: Report, replaces: bool
) -> int:
    tracer = tracer_of(os.environ, query_share=settings.log_queries)
    telemetry = Telemetry(folder=folder, name=f"http-{os.getpid()}", tracer=tracer)
    address = address_of(listener)

    def on_opened(engine: Engine) -> None:
        if error := _failure(engine):
            report([], str(error))
            server.should_exit = True
        else:
            report(_ready_lines(engine, address), None)

    server = _http_server(settings, on_opened, telemetry, open_first=replaces)
    with _signals_end_quietly(_nothing):
        server.run(sockets=[listener])
    telemetry.close()
    return 0


def _tasks_process(settings: Settings, folder: Path, report: Report, replaces: bool) -> int:
    assert settings.home is not None
    telemetry = Telemetry(folder=folder, name=f"tasks-{os.getpid()}")  # so that it is seen
    try:
        return work(settings.home, settings.duties(), started=lambda: report([], None))
    finally:
        telemetry.close()


def _http_server(
    settings: Settings,
    on_opened: Callable[[Engine], None],
    telemetry: Telemetry,
    *,
    open_first: bool = False,
) -> uvicorn.Server:
    sys.setswitchinterval(SWITCH_S)

    def settled(engine: Engine) -> None:
        # What was imported and opened stays. Else each full collection looks at all of it again
        # and holds every request up for 90 ms: one quick search in a hundred took 49 ms beside
        # answers of a thousand hits, now 14 (make bench-service).
        gc.collect()
        gc.freeze()
        server.ending = engine.ending
        on_opened(engine)

    server = _Server(
        uvicorn.Config(
            create_app(settings, on_opened=settled, telemetry=telemetry, open_first=open_first),
            log_config=None,
            access_log=False,  # metrics/observing.py logs requests with their ids
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            http=Connection,
            timeout_keep_alive=WAIT_S,
            h11_max_incomplete_event_size=settings.limits.header_bytes,
        )
    )
    return server


class _Server(uvicorn.Server):
    """Tells the engine before it waits for requests: some wait themselves, up to five minutes."""

    ending: threading.Event | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests, and end those that run."""
        if self.ending is not None:
            self.ending.set()
        await super().shutdown(sockets)


def _failure(engine: Engine) -> Exception | None:
    """Why there is nothing to serve, where there is nothing."""
    if engine.collections() or engine.home is not None:
        return None
    return next(iter(engine.failures().values())).error


@contextmanager
def _worker_of(settings: Settings, log_format: Format) -> Iterator[None]:
    """The worker of the data directory, where there is one."""
    if settings.home is None:
        yield
        return
    with worker_process(settings.home, settings.duties(), log_format=log_format):
        yield


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to `host`.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ready_lines(engine: Engine, address: str) -> list[str]:
    names = ", ".join(collection.name for collection in engine.collections()) or "no index yet"
    lines = writable_lines(engine) + embedding_lines(engine)
    lines.append(f"ready      {address}   {names}; reference at {address}/docs")
    if not engine.collections():
        lines.append(
            f"next       curl -s {address}/v1/indexes -H 'Content-Type: application/json' "
            """-d '{"name": "docs"}'"""
        )
    textual = [one.name for one in engine.collections() if one.encoder is not None]
    if textual:
        lines.append(
            f"next       curl -s {address}/v1/indexes/{textual[0]}/search "
            "-H 'Content-Type: application/json' "
            """-d '{"query": {"text": "your question"}, "limit": 3}'"""
        )
    return lines


def embedding_lines(engine: Engine) -> list[str]:
    """That /embed_sparse answers nothing yet, where a data directory lacks the index it is of."""
    name, registry = engine.settings.embed_index, engine.registry()
    if name is None or name in registry.entries or name in registry.aliases:
        return []
    return [f"embed      {name}: no such index yet; /embed_sparse is refused until there is one"]


def writable_lines(engine: Engine) -> list[str]:
    """What whoever reaches the server may change although it lies outside the data directory."""
    if engine.home is None or engine.settings.read_only:
        return []
    return [
        f"writable   {name}: HTTP changes {path}; --read-only forbids that"
        for name, path in engine.settings.indexes.items()
        if not (path / SHARDS).is_file()
    ]


@contextmanager
def _signals_end_quietly(on_hangup: Callable[..., None]) -> Iterator[None]:
    """uvicorn raises a signal again after it has shut down in good order; here that is exit 0."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGINT: _nothing, signal.SIGTERM: _nothing, signal.SIGHUP: on_hangup}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing(*_: object) -> None:
    """What a signal does that uvicorn has handled, or that means nothing here."""
