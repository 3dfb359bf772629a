"""What counting costs a search: CPU time of the middleware over an app that does nothing.

python tests/bench/metrics_cost.py [REQUESTS]
"""

import asyncio
import platform
import sys
import tempfile
import time
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Board, History, Observed, Searched

STAGES = {"encode": 0.2, "filter": 0.01, "score": 0.5, "fetch": 0.3, "total": 1.0}


class _Route:
    path_format = "/v1/indexes/{name}/search"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at once, and says what the route of a search says."""
    scope["route"] = _Route
    if (seen := scope["state"].get("observation")) is not None:
        seen.index = "papers"
        seen.searches.append(Searched("papers", STAGES, 10, 100, 40))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


async def microseconds(asked: ASGIApp, n: int) -> float:
    """CPU time of one request."""

    async def send(_: Message) -> None:
        return

    async def receive() -> Message:
        return {}

    started = time.process_time()
    for _ in range(n):
        scope = {"type": "http", "method": "POST", "path": "/", "state": {}}
        await asked(scope, receive, send)
    return (time.process_time() - started) / n * 1e6


def main() -> None:
    """Print the cost with counts in memory, and in a file that other processes map."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    memory = Board()
    with tempfile.TemporaryDirectory() as folder:
        shared = Board(Path(folder) / "http-1.board")
        bare = asyncio.run(microseconds(app, n))
        alone = asyncio.run(
            microseconds(Observed(app, board=memory, history=History(memory.values)), n)
        )
        among = asyncio.run(microseconds(Observed(app, board=shared), n))
        shared.close()
    print(
        f"machine    {platform.processor() or platform.machine()}, Python {sys.version.split()[0]}"
    )
    print(f"bare       {bare:.1f} us a request, {n:,} requests")
    print(
        f"counted    {alone - bare:.1f} us more in memory, {among - bare:.1f} us in a shared file"
    )


if __name__ == "__main__":
    main()
