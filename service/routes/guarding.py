"""Routes behind the gate: rights, room and the whole body first, the handler after that.

Searches take turns (turns.py). A handler runs in a thread and cannot see the connection, so the
event loop watches it: not from the beginning, which would cost every request a task, but where a
search is slow.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Message

from index import Cancel

from .. import turns
from ..access import Access, Need, need_of
from ..bodies import check_declared, unsupported_media_type, whole_body
from ..engine import Engine
from ..gate import Gate
from ..limits import Limits
from ..names import is_name
from ..problems import Fault, ProblemError, did_you_mean, pointer
from ..search.stored import Room


class GuardedRoute(APIRoute):
    """A route that says what it needs, and whose handler runs only when it is given."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind the gate."""
        handle = super().get_route_handler()
        need = need_of(self.endpoint)
        has_name = "{name}" in self.path
        assert need.public or need.action is None or need.of != "index" or has_name, self.path
        has_body = self.body_field is not None and not need.streamed
        known = [field.alias for field in self.dependant.query_params]

        async def guarded(request: Request) -> Response:
            gate: Gate = request.state.gate
            access = gate.access(request.headers, need)
            _admit(request, access, need, gate.limits)
            request.state.access = access
            _check_parameters(request, known)
            if need.always:
                return await handle(request)
            if has_body:  # before it takes a place: a client that is slow keeps nobody out
                gate.require_room()
                with gate.reading(access):
                    request = await _with_body(request, gate)
            with gate.running():
                if need.action != "search":
                    return await handle(request)
                async with _watched(request, gate):
                    return await handle(request)

        return guarded


def access_of(request: Request) -> Access:
    """The rights of this request."""
    access: Access = request.state.access
    return access


async def aside(request: Request, handle: Callable[[], Response]) -> Response:
    """Run a handler in one of the threads that are kept for those who watch the server."""
    gate: Gate = request.state.gate
    return await run_sync(handle, limiter=gate.watchers)


def cancel_of(request: Request) -> Cancel:
    """What ends the searches of this request."""
    cancel: Cancel = request.state.cancel
    return cancel


def room_of(request: Request) -> Room:
    """What the answer of this request may still be made of."""
    room: Room = request.state.room
    return room


def _admit(request: Request, access: Access, need: Need, limits: Limits) -> None:
    """Raise the problem that keeps this key from this route, or from what the address names."""
    name = request.path_params.get("name")
    if not need.streamed:
        check_declared(request, limits.body_bytes)
    if need.public:
        return
    if need.of == "server" and need.action is not None:
        access.require_everywhere(need.action)
    elif need.of == "some" and need.action and not access.may_somewhere(need.action):
        raise access.forbidden(f"{need.action}:NAME")
    # Scopes cover names alone, so that a slip of the pen would look like a lack of rights below.
    named = name if need.of == "index" else request.path_params.get("alias")
    if named is not None and not is_name(named):
        raise ProblemError(
            "invalid_name",
            f"'{named[:100]}' is no name.",
            hint="Names are 1 to 63 lower-case letters, digits, '-' and '_', and begin with a "
            "letter or a digit.",
        )
    if need.of == "index" and need.action is not None:
        assert name is not None
        if not access.may(need.action, [name]):
            engine: Engine = request.state.engine
            access.require(need.action, engine.registry().names_of(name))
    if need.whole:
        access.require_whole()


def _check_parameters(request: Request, known: Sequence[str]) -> None:
    """Raise the problem of a parameter that the route does not have: `akc=logged` is a mistake."""
    for name in request.query_params:
        if name not in known:
            raise ProblemError(
                "unknown_field",
                f"The query parameter '{name[:100]}' is unknown here.",
                hint=did_you_mean(name, known)
                or (f"Known here: {', '.join(known)}." if known else "There are none here."),
                faults=[Fault(pointer(["query", name]), "unknown parameter", allowed=known)],
            )


async def _with_body(request: Request, gate: Gate) -> Request:
    """The request with its body read, decompressed and at hand."""
    if unsupported := unsupported_media_type(request):
        raise unsupported
    body = await whole_body(request, gate.limits)
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            return await request.receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)


@asynccontextmanager
async def _watched(request: Request, gate: Gate) -> AsyncIterator[None]:
    """Runs the body in its turn, and ends its searches when the client has left, or after the
    seconds that one request may take.
    """
    turn = await gate.turns.take()
    cancel = Cancel()
    request.state.cancel = cancel
    request.state.room = Room(gate.limits.answer_bytes)
    loop = asyncio.get_running_loop()
    watchers: list[asyncio.Task[None]] = []
    expired = False

    def be_patient() -> None:
        turn.end()
        watchers.append(loop.create_task(_wait_for_leaving(request, cancel)))

    def expire() -> None:
        nonlocal expired
        expired = True
        cancel.set()

    slow = loop.call_later(turns.SLOW_S, be_patient)
    deadline = loop.call_later(gate.limits.request_s, expire)
    try:
        yield
    except ProblemError as error:
        if expired and error.code == "cancelled":
            raise ProblemError(
                "deadline_exceeded",
                f"The search was ended after {gate.limits.request_s:g} seconds, before it had its "
                "answer.",
                hint="With `timeout_ms` a search answers with the best it found so far.",
            ) from error
        raise
    finally:
        turn.end()
        del request.state.cancel  # the scope lives on in cycles, up to the end of Python
        deadline.cancel()
        slow.cancel()
        for watcher in watchers:
            watcher.cancel()


async def _wait_for_leaving(request: Request, cancel: Cancel) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    cancel.set()
