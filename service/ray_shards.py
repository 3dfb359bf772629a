"""A set of shards searched through replicas of Ray Serve: this process asks and merges.

Whoever asks

    - takes the first of two answers where the first replica is slower than 95 % were,
    - asks again where a replica dies, for reading twice does no harm,
    - gives a shard up after `shard_timeout_s`, and a shard that was given up sooner the next time.

Questions and answers travel by value, between handle and replica over gRPC, which takes half the
time of Ray's object store (SCALING.md); Ray Serve still chooses, counts, scales and replaces the
replicas (ray_replicas.py).

The HTTP side is our own app in this process (app.py) rather than Serve's proxy: keys, limits,
cancellation and problems stay what they are, and a search has one hop less. Tested with Ray 2.60.0.
"""

import asyncio
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import wait
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from index import Cancel, ShardedIndex, ShardSet
from lsr.errors import IndexReplaced, SearchCancelled, ShardMissing
from lsr.ray_cluster import unwrapped

from .ray_replicas import Question, deployed, forget
from .settings import OnRay

T = TypeVar("T")

log = logging.getLogger("lsr.service")

SUSPECT_S = 0.25
"""How long a shard is waited for that did not answer the last time."""
LEAST_DELAY_S = 0.005
"""No second replica is asked sooner: a question costs about as much to send."""
HEDGED_SHARE = 0.05
"""Of the questions at most: where all are slow, asking twice would make them slower."""
REMEMBERED = 256
CANCEL_S = 0.05


def open_on_ray(name: str, path: Path, settings: OnRay) -> ShardedIndex:
    """Deploy the set at `path` unless it is, and open it through its replicas.

    Every machine of the cluster needs the set at the same path. Raises what `ShardSet.read` raises,
    and `IndexFailure` where the replicas do not start.
    """
    path = path.resolve()
    members = ShardSet.read(path)
    apps, fresh = deployed(name, path, members, settings)
    from ray import serve

    handles = [serve.get_app_handle(app) for app in apps]
    shards = RayShards(path, members.name, handles, settings, close=partial(forget, fresh))
    try:
        return ShardedIndex(path, members, shards)
    except BaseException:
        shards.close()
        raise


class _Shard:
    """What is known of one shard's answers."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.by_value = _by_value(handle)
        self.reached = False
        self.suspect = False
        self.n_asked = 0
        self.n_hedged = 0
        self._took: deque[float] = deque(maxlen=REMEMBERED)

    def took(self, seconds: float) -> None:
        self._took.append(seconds)

    def delay(self) -> float | None:
        """After which a second replica is asked: None while nothing is known, or too many were."""
        if len(self._took) < 20 or self.n_hedged > HEDGED_SHARE * self.n_asked:
            return None
        ordered = sorted(self._took)
        return max(LEAST_DELAY_S, ordered[int(0.95 * len(ordered))])


def _by_value(handle: Any) -> Any | None:
    """The same replicas asked without Ray's object store; None in a Ray that has no such option."""
    try:
        return handle.options(_by_reference=False)
    except TypeError:
        return None


async def _known(handles: Sequence[Any]) -> list[_Shard]:
    """In the loop that will ask, which a handle takes for its own when an option is set."""
    return [_Shard(handle) for handle in handles]


class RayShards:
    """The shards of one set, asked through a handle of Ray Serve each; an `index.Shards`."""

    in_process = False

    def __init__(
        self,
        path: Path,
        set_name: str,
        handles: Sequence[Any],
        settings: OnRay,
        *,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._set = set_name
        self._settings = settings
        self._loop = _loop()
        self._shards = asyncio.run_coroutine_threadsafe(_known(handles), self._loop).result()
        # Also when it is dropped: after `lsr index --overwrite` the old set is let go of.
        self._closing = weakref.finalize(self, close)

    def close(self) -> None:
        """Remove what was deployed here."""
        self._closing()

    def scrub(self, done: Callable[[int, int], None]) -> None:
        """Replicas verify themselves."""

    def hedged(self) -> tuple[int, int]:
        """How many questions were asked of all shards, and how many of them twice."""
        return sum(s.n_asked for s in self._shards), sum(s.n_hedged for s in self._shards)

    def ask(self, number: int, question: Question[T]) -> T:
        """The answer of one shard."""
        return self._waited(self._answer(number, question), None)

    def ask_all(
        self,
        question: Question[T],
        *,
        missing_ok: bool = False,
        cancel: Cancel | None = None,
    ) -> dict[int, T]:
        """The answers of all shards, or with `missing_ok` of those that answer."""
        found = self._waited(self._all(question), cancel)
        answers: dict[int, T] = {}
        missing: list[int] = []
        for number, one in enumerate(found):
            if isinstance(one, ShardMissing):
                missing.append(number)
            elif isinstance(one, BaseException):
                raise one
            else:
                answers[number] = one
        if missing and not (missing_ok and answers):
            raise ShardMissing(
                f"{self._path}: of {len(found)} shards these do not answer: "
                f"{', '.join(map(str, missing))}",
                shards=missing,
            )
        return answers

    def _waited(self, coroutine: Coroutine[Any, Any, T], cancel: Cancel | None) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        while cancel is not None and not wait([future], timeout=CANCEL_S).done:
            if cancel.is_set():
                future.cancel()
                raise SearchCancelled("the search was called off")
        return future.result()

    async def _all(self, question: Question[T]) -> list[T | BaseException]:
        asked = (self._answer(number, question) for number in range(len(self._shards)))
        return await asyncio.gather(*asked, return_exceptions=True)

    async def _answer(self, number: int, question: Question[T]) -> T:
        """Ask until somebody answers. Raises `ShardMissing` when the time is over."""
        from ray.exceptions import RayError, RayTaskError
        from ray.serve.exceptions import RayServeException

        shard = self._shards[number]
        why: Exception | None = None
        try:
            async with asyncio.timeout(
                SUSPECT_S if shard.suspect else self._settings.shard_timeout_s
            ):
                while True:
                    try:
                        answer = await self._hedged(shard, question)
                    except RayTaskError as error:
                        why = unwrapped(error)
                        if not isinstance(why, IndexReplaced):
                            raise why from None
                    except (
                        RayError,
                        RayServeException,
                        IndexReplaced,
                        ConnectionError,
                    ) as error:
                        why = error
                    else:
                        shard.suspect = False
                        return answer
                    await asyncio.sleep(0.02)
        except TimeoutError:
            if shard.by_value is not None and not shard.reached:
                self._by_reference(shard, "no port of its replicas can be reached")
                return await self._answer(number, question)
            if not shard.suspect:
                log.error("%s: shard %d does not answer: %s", self._path, number, why)
            shard.suspect = True
            raise ShardMissing(
                f"{self._path}: shard {number} does not answer ({why or 'no replica is free'})",
                shards=(number,),
            ) from None

    async def _hedged(self, shard: _Shard, question: Question[T]) -> T:
        """One answer, of a second replica where the first takes longer than is usual."""
        shard.n_asked += 1
        if not self._settings.hedges:
            return await self._once(shard, question)
        running = {asyncio.ensure_future(self._once(shard, question))}
        try:
            delay = shard.delay()
            if delay is not None:
                done, _ = await asyncio.wait(running, timeout=delay)
                if not done:
                    shard.n_hedged += 1
                    running.add(asyncio.ensure_future(self._once(shard, question)))
            while True:
                done, others = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                first = done.pop()
                if first.exception() is None or not (done or others):
                    return first.result()
                running = done | others
        finally:
            for one in running:
                one.cancel()

    async def _once(self, shard: _Shard, question: Question[T]) -> T:
        """The answer of one replica. Raises `ConnectionError` where another may know it."""
        started = time.perf_counter()
        by_value = shard.by_value
        response = (by_value or shard.handle).remote(self._set, question)
        try:
            answer: T = await response
        except asyncio.CancelledError:
            response.cancel()
            asked = asyncio.current_task()
            if asked is not None and asked.cancelling():
                raise
            raise ConnectionError("the replica called the question off") from None
        except Exception as error:
            if by_value is None or not _of_transport(error):
                raise
            if not _passes(error):
                self._by_reference(shard, str(error))
            raise ConnectionError(str(error)) from error
        shard.reached = shard.reached or by_value is not None
        shard.took(time.perf_counter() - started)
        return answer

    def _by_reference(self, shard: _Shard, why: str) -> None:
        shard.by_value = None
        log.warning(
            "%s: a shard is asked through Ray's object store from now on, which takes longer: %s",
            self._path,
            why,
        )


def _of_transport(error: Exception) -> bool:
    """Whether this was said by gRPC, or by Ray of it, and not by the replica."""
    from grpc import RpcError

    return isinstance(error, RpcError) or (
        # Ray of a call that ended before its replica took it.
        type(error) is RuntimeError and str(error).startswith("Unexpected error (")
    )


def _passes(error: Exception) -> bool:
    """Whether asking again the same way may help: a replica has died or is about to."""
    from grpc import StatusCode
    from grpc.aio import AioRpcError

    return not isinstance(error, AioRpcError) or error.code() in (
        StatusCode.UNAVAILABLE,
        StatusCode.CANCELLED,
        StatusCode.DEADLINE_EXCEEDED,
    )


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The loop of all sets: Ray Serve's handles and routers belong to that where they were first
    used, and outlive the sets.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="ray-shards", daemon=True).start()
    return loop
