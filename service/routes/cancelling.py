"""Routes whose work ends when the client that asked for it goes away.

A handler runs in a thread and cannot see the connection, so the event loop watches it: not from the
beginning, which would cost every request a task, but for requests that take longer than
`PATIENCE_S`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from index import Cancel

PATIENCE_S = 0.05


class CancellingRoute(APIRoute):
    """Puts a `Cancel` into the state of each request, and sets it when the client disconnects."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler under watch."""
        handle = super().get_route_handler()

        async def watched(request: Request) -> Response:
            try:
                await request.body()  # kept by the request; later messages are about its end alone
            except ClientDisconnect as error:
                raise HTTPException(400) from error
            cancel = Cancel()
            request.state.cancel = cancel
            watchers: list[asyncio.Task[None]] = []
            loop = asyncio.get_running_loop()
            timer = loop.call_later(
                PATIENCE_S, lambda: watchers.append(loop.create_task(_watch(request, cancel)))
            )
            try:
                return await handle(request)
            finally:
                del request.state.cancel  # the scope lives on in cycles, up to the end of Python
                timer.cancel()
                for watcher in watchers:
                    watcher.cancel()

        return watched


def cancel_of(request: Request) -> Cancel:
    """What ends the searches of this request."""
    cancel: Cancel = request.state.cancel
    return cancel


async def _watch(request: Request, cancel: Cancel) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    cancel.set()
