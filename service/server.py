"""`serve`: the app behind uvicorn, on loopback, until SIGTERM or Ctrl-C."""

import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from lsr.errors import IndexNotFound, UsageError

from .app import create_app
from .engine import Engine
from .home import Home
from .logs import Format, logging_to_stderr
from .settings import MIB, Settings
from .worker import worker_process

log = logging.getLogger("lsr.service")

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
    max_body_bytes: int = MIB,
) -> None:
    """Serve `indexes` by name until SIGTERM or SIGINT; running requests finish first.

    `home` is the data directory, made where there is none; its tasks run in a process of their own.

    Port 0 takes a free one. All output goes to stderr; the line that begins with `ready` names the
    address once every index is open. Raises `UsageError` for an address other than loopback unless
    `insecure`, because there are no keys yet, and the first error of opening when no index could be
    opened.
    """
    if not is_loopback(host) and not insecure:
        raise UsageError(
            f"refusing to listen on {host}: there are no keys yet, so whoever reaches the port "
            "could read every document. Listen on 127.0.0.1 behind a proxy that authenticates, or "
            "accept the risk with --insecure"
        )
    for name, path in indexes.items():
        if not path.is_dir():
            raise IndexNotFound(
                f"{path}: no such directory, it was to be served as '{name}'; build it with "
                f"`lsr index CORPUS {path}`"
            )
    settings = Settings(
        indexes=dict(indexes),
        encoders=dict(encoders or {}),
        home=home,
        max_body_bytes=max_body_bytes,
        access_log=access_log,
        log_queries=log_queries,
    )
    failed: list[Exception] = []

    def on_opened(engine: Engine) -> None:
        if engine.collections() or home is not None:
            for line in _ready_lines(engine, address):
                log.info("%s", line)
        else:
            failed.extend(failure.error for failure in engine.failures().values())
            server.should_exit = True

    with _listening(host, port) as listener, logging_to_stderr(log_format):
        address = _address(listener)
        if not is_loopback(host):
            log.warning("insecure   listening on %s without keys: anyone may read it all", host)
        config = uvicorn.Config(
            create_app(settings, on_opened=on_opened),
            log_config=None,
            access_log=False,  # metrics/observing.py logs requests with their ids
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = uvicorn.Server(config)
        with _worker_of(settings), _signals_end_quietly():
            server.run(sockets=[listener])
    if failed:
        raise failed[0]


@contextmanager
def _worker_of(settings: Settings) -> Iterator[None]:
    """The worker of the data directory, where there is one."""
    if settings.home is None:
        yield
        return
    Home.open(settings.home).close()  # made, or refused, before anything else is started
    with worker_process(settings.home, mounts=settings.indexes, encoders=settings.encoders):
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


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket, so that the port is known, and refused, before anything is opened."""
    if not 0 <= port <= 65535:
        raise UsageError(f"port {port}: wanted 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another with "
            "--host and --port (0 takes a free port)"
        ) from error
    with listener:
        yield listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _ready_lines(engine: Engine, address: str) -> list[str]:
    names = ", ".join(collection.name for collection in engine.collections()) or "no index yet"
    lines = [f"ready      {address}   {names}; reference at {address}/docs"]
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


@contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """uvicorn raises a signal again after it has shut down in good order; here that is exit 0."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: None) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
