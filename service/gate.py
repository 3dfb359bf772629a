"""The gate: before a body is read, whose request it is, and whether there is room for it now.

All of it runs in the event loop and needs no lock. Each process counts for itself.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CapacityLimiter
from starlette.datastructures import Headers

from .access import Access, Need, key_required
from .home import Home
from .home.keys import Key, KeyRing
from .limits import Limits
from .problems import ProblemError
from .turns import Turns

WATCHERS = 2
"""Threads for `/metrics` and `/readyz`, which are asked most when all others are taken."""


class Gate:
    """One for each app."""

    def __init__(self, limits: Limits, home: Home | None) -> None:
        self.limits = limits
        self.n_running = 0
        self.n_streams = 0
        self.watchers = CapacityLimiter(WATCHERS)
        self.turns = Turns()
        self._ring = None if home is None else KeyRing(home)
        self._buckets: dict[str, tuple[float, float]] = {}
        self._reading: Counter[str] = Counter()

    def access(self, headers: Headers, need: Need) -> Access:
        """The rights that a request comes with.

        Raises the problems `key_required`, `invalid_key` and `rate_limited`.
        """
        if need.public or self._ring is None or self._ring.empty():
            return Access()
        secret = _secret(headers)
        if secret is None and need.anonymous:
            return Access(anonymous=True)
        if secret is None:
            raise key_required()
        key = self._ring.find(secret, time.time())
        self._spend(key)
        return Access(key)

    @contextmanager
    def running(self) -> Iterator[None]:
        """A place among the requests being worked on. Raises the problem `too_busy`."""
        self.require_room()
        self.n_running += 1
        try:
            yield
        finally:
            self.n_running -= 1

    def require_room(self) -> None:
        """Raise the problem `too_busy` when as many requests are worked on as may be."""
        if self.n_running >= self.limits.concurrent:
            raise _too_busy(f"{self.limits.concurrent} requests are being worked on.")

    @contextmanager
    def reading(self, access: Access) -> Iterator[None]:
        """While a body of at most `body_bytes` comes. Each key may send as many at a time as
        requests are worked on, all keys together twice as many. Raises the problem `too_busy`.
        """
        most = self.limits.concurrent
        key = "" if access.key is None else access.key.id
        coming = self._reading.total()
        if self._reading[key] >= most or coming >= 2 * most:
            raise _too_busy(f"{coming} bodies of requests are still coming.")
        self._reading[key] += 1
        try:
            yield
        finally:
            self._reading[key] -= 1
            if not self._reading[key]:
                del self._reading[key]

    def require_stream(self) -> None:
        """Raise the problem `too_busy` when no further answer may go on for long."""
        if self.n_streams >= self.limits.streams:
            raise ProblemError(
                "too_busy",
                f"{self.limits.streams} streams of events are open.",
                hint="Ask for the task now and then instead.",
                headers={"Retry-After": "10"},
            )

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """While an answer goes on."""
        self.n_streams += 1
        try:
            yield
        finally:
            self.n_streams -= 1

    def _spend(self, key: Key) -> None:
        """Take one of the tokens that a key is given at `key_rate`, `key_burst` at most."""
        rate = self.limits.key_rate
        if rate is None:
            return
        now = time.monotonic()
        tokens, then = self._buckets.get(key.id, (float(self.limits.key_burst), now))
        tokens = min(float(self.limits.key_burst), tokens + (now - then) * rate)
        if tokens < 1:
            self._buckets[key.id] = (tokens, now)
            wait = math.ceil((1 - tokens) / rate)
            raise ProblemError(
                "rate_limited",
                f"The key {key.id} may make {rate:g} requests a second.",
                hint="Wait as long as Retry-After says.",
                headers={"Retry-After": str(wait)},
            )
        self._buckets[key.id] = (tokens - 1, now)


def _too_busy(detail: str) -> ProblemError:
    return ProblemError(
        "too_busy",
        detail,
        hint="Wait a moment, then try again; wait longer each time.",
        headers={"Retry-After": "1"},
    )


def _secret(headers: Headers) -> str | None:
    """What a request shows: a bearer token, else X-API-Key."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return headers.get("x-api-key")
