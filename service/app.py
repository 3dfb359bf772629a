"""`create_app`: the API, its errors and its pages, with nothing kept outside the app.

metrics/                    counts, history; logs and traces of requests
frame.py, browsers.py       request id, headers, an answer even to our own faults
gate.py, access.py          who asks, may they, is there room; bodies.py, limits.py
restricted.py               an index as a key with a filter sees it
routes/                     API v1, /livez, /readyz, /problems; a module an area
wire/                       what goes over the wire, by area
errors.py, problems.py      exceptions as RFC 9457 problems; kinds.py lists all of them
describing.py, openapi.json the OpenAPI document, with the problems of each route
collection.py               one index and the encoder of its queries
engine.py                   the indexes, opened in a thread of its own
search/                     one search, from request to answer
outgrown.py                 BM25 of a collection that has grown
filters.py                  a filter in the terms of an index
pages.py, page/             the search page at /, the reference at /docs
server.py                   all of it behind uvicorn
supervisor.py, processes.py several processes behind one socket
"""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypedDict

import anyio
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from lsr import __version__

from . import browsers, errors
from .describing import describe_problems
from .engine import Engine
from .frame import Frame
from .gate import Gate
from .metrics import Observed, Telemetry
from .pages import add_pages
from .routes import ROUTERS
from .routes.guarding import GuardedRoute
from .settings import Settings
from .worker import Worker

_DESCRIPTION = (
    "Exact search over learned sparse vectors. Every answer says which encoder read the query, "
    "which commit of the index it is true of, and where the time went; every error is an RFC 9457 "
    "problem with a stable `code` and a `hint`."
)


OPENING_S = 600.0
"""For how long others stand in for a process that opens its indexes."""


class State(TypedDict):
    """What the lifespan gives every request."""

    engine: Engine
    gate: Gate
    telemetry: Telemetry


def create_app(
    settings: Settings,
    *,
    on_opened: Callable[[Engine], None] | None = None,
    telemetry: Telemetry | None = None,
    open_first: bool = False,
) -> FastAPI:
    """The ASGI app that serves what `settings` says, closed again when its lifespan ends.

    `on_opened` is called once, from the opening thread, when every index is open or has failed.
    `telemetry` is where it counts; by default in the memory of this process. With `open_first` no
    request is taken before that, for a process that stands beside others.
    """
    telemetry = telemetry or Telemetry()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        engine = Engine(settings, on_opened=on_opened)
        gate = Gate(settings.limits, engine.home)
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.limits.threads
        engine.start()
        if open_first:
            await anyio.to_thread.run_sync(engine.wait, OPENING_S)
        try:
            with working_inside(engine):
                yield {"engine": engine, "gate": gate, "telemetry": telemetry}
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(engine.close)

    app = FastAPI(
        title="lsr-search",
        version=__version__,
        summary="Learned sparse retrieval over HTTP",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.add_middleware(
        Frame,
        host_names=settings.host_names,
        origins=settings.origins,
        header_bytes=settings.limits.header_bytes,
    )
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=browsers.METHODS,
            allow_headers=browsers.ASKED_HEADERS,
            expose_headers=browsers.TOLD_HEADERS,
        )
    app.add_middleware(
        Observed,
        board=telemetry.board,
        history=telemetry.history,
        tracer=telemetry.tracer,
        access_log=settings.access_log,
        log_queries=settings.log_queries,
    )
    errors.install(app)
    for router in ROUTERS:
        unguarded = [route for route in router.routes if not isinstance(route, GuardedRoute)]
        assert not unguarded, f"{unguarded}: wanted APIRouter(route_class=GuardedRoute)"
        app.include_router(router)
    add_pages(app)
    describe_problems(app)
    return app


@contextmanager
def working_inside(engine: Engine) -> Iterator[None]:
    """The worker as a thread, where the settings want that; it has stopped when the body ends."""
    if not engine.settings.work_inside:
        yield
        return
    worker = Worker(engine.writable_home(), engine.settings.duties())
    thread = threading.Thread(target=worker.run, name="worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join()
