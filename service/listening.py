"""The listening socket of a server, bound before anything is opened."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lsr.errors import UsageError

BACKLOG = 2048


class OneAtATime(socket.socket):
    """A listening socket that gives one connection a wake-up, so that its processes share them.

    An event loop takes all that wait at once: whichever process wakes first would get every
    connection of a burst, and keep them, while its siblings idle.
    """

    _given = False

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; every other call says that none waits, and the loop comes back."""
        self._given = not self._given
        if not self._given:
            raise BlockingIOError
        try:
            return super().accept()
        except OSError:
            self._given = False
            raise


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket, so that the port is known, and refused, before anything is opened."""
    if not 0 <= port <= 65535:
        raise UsageError(f"port {port}: wanted 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another with "
            "--host and --port (0 takes a free port)"
        ) from error
    with OneAtATime(made.family, made.type, made.proto, fileno=made.detach()) as listener:
        # asyncio sets this only where a socket names its protocol, which this one does not; an
        # answer is written in two parts, and the second would wait for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def address_of(listener: socket.socket) -> str:
    """Where browsers find it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
