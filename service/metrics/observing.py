"""The middleware round everything: each request is counted, logged and, if wanted, traced.

Routes say what they know through `observation_of(request)`; all of it is written down once, when
the answer is out: one lock, some microseconds (README.md tells how many).
"""

import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import names
from .board import Board
from .history import History

access = logging.getLogger("lsr.service.access")

LOGGED_PATH = 200
"""Bytes of an address that no route knows, as the log has it."""
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


@dataclass(slots=True)
class Searched:
    """One search: of which index, how long each stage took in milliseconds, what came of it."""

    index: str
    stages: Mapping[str, float]
    n_hits: int
    blocks: int = 0
    blocks_scored: int = 0
    first_page: bool = True


@dataclass(slots=True)
class Observation:
    """What a request turned out to be, told by its route.

    `index` is the index it is about, once it is known to exist; `query` a text that is logged only
    where the operator wants texts logged.
    """

    index: str | None = None
    query: str | None = None
    searches: list[Searched] = field(default_factory=list)
    encoded: list[int] = field(default_factory=list)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """One answered request. `route` is the template, `status` 0 when the client left first."""

    scope: Scope
    route: str
    method: str
    status: int
    seconds: float
    seen: Observation


class Tracer(Protocol):
    """What makes spans of answered requests; `close` sends what waits."""

    def record(self, finished: Finished) -> str | None:
        """Make a span of it; the id of its trace, None where it is not sampled."""
        ...

    def close(self) -> None:
        """No request comes any more."""
        ...


def observation_of(request: Request) -> Observation:
    """Where a route writes what it knows of its request."""
    seen: Observation = request.state.observation
    return seen


class Observed:
    """ASGI middleware, the outermost of ours, so that what the others refuse is counted as well."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        board: Board,
        history: History | None = None,
        tracer: Tracer | None = None,
        access_log: bool = False,
        log_queries: float = 0.0,
    ) -> None:
        self.app = app
        self.board = board
        self.history = history
        self.tracer = tracer
        self.access_log = access_log
        self.log_queries = log_queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and write down how."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        seen = scope.setdefault("state", {})["observation"] = Observation()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self.board.lock:
            self.board.add(names.IN_FLIGHT)
        try:
            await self.app(scope, receive, watched)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            finished = Finished(
                scope, route_of(scope), method, status, time.perf_counter() - started, seen
            )
            if self.history is not None:
                self.history.tick(time.time())
            self._count(finished)
            trace = None if self.tracer is None else self.tracer.record(finished)
            if self.access_log:
                self._log(finished, trace)

    def _count(self, finished: Finished) -> None:
        board, seen, route = self.board, finished.seen, finished.route
        with board.lock:
            board.add(names.IN_FLIGHT, (), -1.0)
            board.add(names.REQUESTS, (route, finished.method, str(finished.status)))
            board.observe(names.REQUEST_SECONDS, (route,), finished.seconds)
            if seen.problem is not None:
                board.add(names.REJECTED, (seen.problem,))
            for one in seen.searches:
                for stage, milliseconds in one.stages.items():
                    if stage == "total":
                        board.observe(names.SEARCH_SECONDS, (one.index,), milliseconds / 1000)
                    else:
                        board.observe(names.STAGE_SECONDS, (stage,), milliseconds / 1000)
                if one.n_hits == 0 and one.first_page:
                    board.add(names.ZERO_HITS, (one.index,))
                board.add(names.BLOCKS_SCORED, (one.index,), one.blocks_scored)
                board.add(names.BLOCKS_SKIPPED, (one.index,), one.blocks - one.blocks_scored)
            for n_texts in seen.encoded:
                board.observe(names.ENCODE_BATCH, (), n_texts)
            if finished.status >= 500 and seen.index is not None and route.endswith("/search"):
                board.add(names.SEARCH_ERRORS, (seen.index,))

    def _log(self, finished: Finished, trace: str | None) -> None:
        scope, seen = finished.scope, finished.seen
        facts: dict[str, Any] = {
            "method": finished.method,
            "route": finished.route,
            "status": finished.status,
            "ms": round(1000 * finished.seconds, 1),
            "request_id": scope["state"].get("request_id"),
        }
        if trace is not None:
            facts["trace_id"] = trace
        if seen.index is not None:
            facts["index"] = seen.index
        if seen.problem is not None:
            facts["problem"] = seen.problem
        if seen.searches:
            facts["hits"] = [one.n_hits for one in seen.searches]
            facts["stages_ms"] = [dict(one.stages) for one in seen.searches]
        # Chosen by chance and not by content, so that the sample is one.
        if seen.query is not None and random.random() < self.log_queries:
            facts["query"] = seen.query
        where = finished.route if finished.route != "none" else _path(scope)
        if seen.index is not None:
            where = where.replace("{name}", seen.index)
        text = f"{finished.method} {where} {finished.status} {facts['ms']} ms {facts['request_id']}"
        if "query" in facts:
            text += f" {facts['query']!r}"
        access.info("%s", text, extra={"facts": facts})


def route_of(scope: Scope) -> str:
    """The template of the route that answered, `none` where none did."""
    path = getattr(scope.get("route"), "path_format", None)
    return path if isinstance(path, str) else "none"


def _path(scope: Scope) -> str:
    """The path as it came, so that nothing in it can break a line of the log."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("ascii", "backslashreplace")
    return raw[:LOGGED_PATH].decode("ascii", "backslashreplace")
