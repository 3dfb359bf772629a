"""Connections as the server in front makes them, but for one thing: it waits for ever for headers
that were begun, or never are, so that whoever opens thousands of connections takes them all.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

WAIT_S = 10
"""Seconds for the headers of a request to come, and for the next request to begin."""


class Connection(H11Protocol):
    """Closed when a request has not begun in time, or its headers are not whole."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """Wait on while headers are incomplete, not longer because a byte of them came."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_headers()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing left to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
