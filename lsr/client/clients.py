"""`Client` and `AsyncClient`: the operations of this package, carried out with httpx.

Each method is one of the conversations in `searching.py`, `documents.py`, `managing.py` or
`tasks.py`; only the loop that carries out their steps exists twice.
"""

import inspect
import random
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import anyio
import httpx

from ..errors import UsageError
from . import comparing, documents, guarding, managing, searching, tasks, versions
from .steps import Answer, Outcome, Request, Retry, Sleep, Talk, patient

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")

TIMEOUT_S = 30.0


class _Lines:
    """Lines of a stream that comes in pieces. They end in a line feed and nothing else: JSON may
    hold other characters that Python takes for the end of a line.
    """

    def __init__(self) -> None:
        self._begun = b""

    def of(self, piece: bytes) -> list[str]:
        """Those that end in this piece."""
        *whole, self._begun = (self._begun + piece).split(b"\n")
        return [line.removesuffix(b"\r").decode("utf-8") for line in whole]


def _operation(talk: Callable[P, Talk[T]]) -> "Callable[Concatenate[Client, P], T]":
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.perform(talk(*args, **kwargs))

    return _presented(method, talk, skip=0)


def _index_operation(
    talk: Callable[Concatenate[str, P], Talk[T]],
) -> "Callable[Concatenate[RemoteIndex, P], T]":
    def method(self: "RemoteIndex", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.client.perform(talk(self.name, *args, **kwargs))

    return _presented(method, talk, skip=1)


def _async_operation(
    talk: Callable[P, Talk[T]],
) -> "Callable[Concatenate[AsyncClient, P], Awaitable[T]]":
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.perform(talk(*args, **kwargs))

    return _presented(method, talk, skip=0)


def _async_index_operation(
    talk: Callable[Concatenate[str, P], Talk[T]],
) -> "Callable[Concatenate[AsyncRemoteIndex, P], Awaitable[T]]":
    async def method(self: "AsyncRemoteIndex", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.client.perform(talk(self.name, *args, **kwargs))

    return _presented(method, talk, skip=1)


def _presented(method: S, talk: Callable[..., Any], *, skip: int) -> S:
    """The method under the conversation's name, documentation and parameters, for `help`."""
    wraps(talk)(method)  # type: ignore[arg-type]
    signature = inspect.signature(talk)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [own, *list(signature.parameters.values())[skip:]]
    (result,) = signature.return_annotation.__args__[-1:]
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=result
    )
    return method


class Client:
    """A server of lsr-search over blocking HTTP; threads may share it.

    Requests are repeated after broken connections, 429 and 503, as `retry` says, where doing them
    twice does no harm. `timeout` in seconds bounds each request. `transport` replaces the network.
    Errors are those of `errors.py`; an address or a key that cannot be one is a `UsageError`.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT_S,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=_address(url), headers=_headers(api_key), timeout=timeout, transport=transport
        )
        self._retry = retry or Retry()
        self._rng = random.Random()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def index(self, name: str) -> "RemoteIndex":
        """An index or alias by name; whether it exists shows when it is asked something."""
        return RemoteIndex(self, name)

    def perform(self, talk: Talk[T]) -> T:
        """Carry out an operation of this package."""
        steps = patient(talk, self._retry, self._rng)
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Sleep):
                    time.sleep(step.seconds)
                    outcome = None
                else:
                    outcome = self._sent(step)
        except StopIteration as end:
            value: T = end.value
            return value

    def _sent(self, request: Request) -> Outcome:
        try:
            with self._http.stream(**_arguments(request)) as response:
                if request.listen is None or response.status_code != 200:
                    return Answer(response.status_code, response.headers, response.read())
                lines = _Lines()
                for piece in response.iter_bytes():
                    if any(map(request.listen, lines.of(piece))):
                        break
                return Answer(response.status_code, response.headers, b"")
        except httpx.TransportError as error:
            return error

    search = _operation(searching.search)
    multi_search = _operation(searching.multi_search)
    compare = _operation(comparing.compare)
    encode = _operation(comparing.encode)
    create_index = _operation(managing.create_index)
    delete_index = _operation(managing.delete_index)
    list_indexes = _operation(managing.list_indexes)
    task = _operation(tasks.task)
    list_tasks = _operation(tasks.list_tasks)
    cancel_task = _operation(tasks.cancel_task)
    task_rejects = _operation(tasks.task_rejects)
    wait = _operation(tasks.wait)
    server_info = _operation(managing.server_info)
    is_alive = _operation(managing.is_alive)
    ready = _operation(managing.ready)
    metrics = _operation(managing.metrics)
    list_aliases = _operation(versions.list_aliases)
    change_aliases = _operation(versions.change_aliases)
    alias_history = _operation(versions.alias_history)
    roll_back_alias = _operation(versions.roll_back_alias)
    create_snapshot = _operation(versions.create_snapshot)
    verify_snapshot = _operation(versions.verify_snapshot)
    restore_snapshot = _operation(versions.restore_snapshot)
    list_snapshots = _operation(versions.list_snapshots)
    snapshot = _operation(versions.snapshot)
    delete_snapshot = _operation(versions.delete_snapshot)
    create_key = _operation(guarding.create_key)
    list_keys = _operation(guarding.list_keys)
    revoke_key = _operation(guarding.revoke_key)


class RemoteIndex:
    """One index of a server, by name or alias."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name

    search = _index_operation(searching.search)
    explain = _index_operation(comparing.explain)
    origins = _index_operation(comparing.origins)
    encode = _index_operation(comparing.encode)
    info = _index_operation(managing.index_info)
    change = _index_operation(managing.change_index)
    add = _index_operation(documents.add)
    get = _index_operation(documents.get)
    put = _index_operation(documents.put)
    delete = _index_operation(documents.delete)
    delete_many = _index_operation(documents.delete_many)
    rebuild = _index_operation(versions.rebuild)
    roll_back = _index_operation(versions.roll_back)
    list_versions = _index_operation(versions.list_versions)
    forget_versions = _index_operation(versions.forget_versions)


class AsyncClient:
    """`Client` for asyncio and trio: the same operations, each to be awaited."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT_S,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=_address(url), headers=_headers(api_key), timeout=timeout, transport=transport
        )
        self._retry = retry or Retry()
        self._rng = random.Random()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    def index(self, name: str) -> "AsyncRemoteIndex":
        """An index or alias by name; whether it exists shows when it is asked something."""
        return AsyncRemoteIndex(self, name)

    async def perform(self, talk: Talk[T]) -> T:
        """Carry out an operation of this package."""
        steps = patient(talk, self._retry, self._rng)
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Sleep):
                    await anyio.sleep(step.seconds)
                    outcome = None
                else:
                    outcome = await self._sent(step)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _sent(self, request: Request) -> Outcome:
        try:
            async with self._http.stream(**_arguments(request)) as response:
                if request.listen is None or response.status_code != 200:
                    return Answer(response.status_code, response.headers, await response.aread())
                lines = _Lines()
                async for piece in response.aiter_bytes():
                    if any(map(request.listen, lines.of(piece))):
                        break
                return Answer(response.status_code, response.headers, b"")
        except httpx.TransportError as error:
            return error

    search = _async_operation(searching.search)
    multi_search = _async_operation(searching.multi_search)
    compare = _async_operation(comparing.compare)
    encode = _async_operation(comparing.encode)
    create_index = _async_operation(managing.create_index)
    delete_index = _async_operation(managing.delete_index)
    list_indexes = _async_operation(managing.list_indexes)
    task = _async_operation(tasks.task)
    list_tasks = _async_operation(tasks.list_tasks)
    cancel_task = _async_operation(tasks.cancel_task)
    task_rejects = _async_operation(tasks.task_rejects)
    wait = _async_operation(tasks.wait)
    server_info = _async_operation(managing.server_info)
    is_alive = _async_operation(managing.is_alive)
    ready = _async_operation(managing.ready)
    metrics = _async_operation(managing.metrics)
    list_aliases = _async_operation(versions.list_aliases)
    change_aliases = _async_operation(versions.change_aliases)
    alias_history = _async_operation(versions.alias_history)
    roll_back_alias = _async_operation(versions.roll_back_alias)
    create_snapshot = _async_operation(versions.create_snapshot)
    verify_snapshot = _async_operation(versions.verify_snapshot)
    restore_snapshot = _async_operation(versions.restore_snapshot)
    list_snapshots = _async_operation(versions.list_snapshots)
    snapshot = _async_operation(versions.snapshot)
    delete_snapshot = _async_operation(versions.delete_snapshot)
    create_key = _async_operation(guarding.create_key)
    list_keys = _async_operation(guarding.list_keys)
    revoke_key = _async_operation(guarding.revoke_key)


class AsyncRemoteIndex:
    """One index of a server, by name or alias."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self.client = client
        self.name = name

    search = _async_index_operation(searching.search)
    explain = _async_index_operation(comparing.explain)
    origins = _async_index_operation(comparing.origins)
    encode = _async_index_operation(comparing.encode)
    info = _async_index_operation(managing.index_info)
    change = _async_index_operation(managing.change_index)
    add = _async_index_operation(documents.add)
    get = _async_index_operation(documents.get)
    put = _async_index_operation(documents.put)
    delete = _async_index_operation(documents.delete)
    delete_many = _async_index_operation(documents.delete_many)
    rebuild = _async_index_operation(versions.rebuild)
    roll_back = _async_index_operation(versions.roll_back)
    list_versions = _async_index_operation(versions.list_versions)
    forget_versions = _async_index_operation(versions.forget_versions)


def _address(url: str) -> str:
    """The address of a server; what is none would be tried five times."""
    if not url.lower().startswith(("http://", "https://")):
        raise UsageError(f"{url!r} is no address of a server; wanted http://HOST:PORT")
    return url


def _headers(api_key: str | None) -> dict[str, str]:
    """What every request says. A key that no header can hold is not shown: it may be nearly one."""
    if api_key is None:
        return {}
    odd = next((at for at, one in enumerate(api_key) if not "!" <= one <= "~"), None)
    if odd is not None or not api_key:
        what = "is empty" if odd is None else f"has {api_key[odd]!r} as character {odd + 1}"
        raise UsageError(f"the API key {what}; wanted visible ASCII alone, as it was made")
    return {"Authorization": f"Bearer {api_key}"}


def _arguments(request: Request) -> dict[str, Any]:
    """A request as httpx takes it."""
    arguments: dict[str, Any] = {
        "method": request.method,
        "url": request.path,
        "params": request.parameters or None,
        "headers": request.headers,
    }
    if request.json is not None:
        arguments["json"] = request.json
    if request.content is not None:
        arguments["content"] = request.content
    if request.timeout is not None:
        arguments["timeout"] = request.timeout
    return arguments
