"""The shards of a set as deployments of Ray Serve: replicas answer, this process asks and merges.

One application a shard, named after the set, so that two builds of it are never mixed; every
replica refuses what is meant for another set all the same. Whoever asks

    - takes the first of two answers where the first replica is slower than 95 % were,
    - asks again where a replica dies, for reading twice does no harm,
    - gives a shard up after `shard_timeout_s`, and a shard that was given up sooner the next time.

The HTTP side is our own app in this process (app.py) rather than Serve's proxy: keys, limits,
cancellation and problems stay what they are, and a search has one hop less. Tested with Ray 2.60.0.
"""

import asyncio
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from index import Cancel, Index, ShardedIndex, ShardSet
from index.shards import check_member
from lsr.errors import IndexCorrupt, IndexFailure, IndexReplaced, SearchCancelled, ShardMissing
from lsr.ray_cluster import unwrapped

from .settings import OnRay

T = TypeVar("T")
Question = Callable[[Index], T]

log = logging.getLogger("lsr.service")

THREADS = 8
"""Questions that a replica works on at the same time; more wait in its queue."""
SUSPECT_S = 0.25
"""How long a shard is waited for that did not answer the last time."""
LEAST_DELAY_S = 0.005
"""No second replica is asked sooner: a question costs about as much to send."""
HEDGED_SHARE = 0.05
"""Of the questions at most: where all are slow, asking twice would make them slower."""
LEAN = {
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
}
"""Two hops between threads less for each question: ours never blocks the loop it runs in."""
REMEMBERED = 256
STARTING_S = 600.0
CANCEL_S = 0.05


class Replica:
    """One copy of a shard, in a process of Ray Serve."""

    def __init__(self, folder: str, number: int, set_name: str) -> None:
        self._name = set_name
        members = ShardSet.read(Path(folder))
        place = Path(folder) / members.shards[number].name
        check_member(place, set_name=set_name, number=number)
        self._index = Index.open(place, read_only=True)
        self._damage: str | None = None
        self._pool = ThreadPoolExecutor(THREADS, "question")
        threading.Thread(target=self._scrub, name="scrub", daemon=True).start()

    async def __call__(self, set_name: str, question: Question[T]) -> T:
        """The answer of this shard. Raises `IndexReplaced` where another set is meant."""
        if set_name != self._name:
            raise IndexReplaced(f"this replica is of set {self._name}, the question of {set_name}")
        return await asyncio.get_running_loop().run_in_executor(self._pool, question, self._index)

    def check_health(self) -> None:
        """What Ray Serve asks every ten seconds: a damaged replica is replaced."""
        if self._damage is not None:
            raise IndexCorrupt(self._damage)

    def _scrub(self) -> None:
        try:
            self._index.scrub()
        except IndexFailure as error:
            self._damage = str(error)


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


def deployed(
    name: str, path: Path, members: ShardSet, settings: OnRay
) -> "tuple[list[str], list[str]]":
    """The applications of all shards, running, and those of them that were deployed here."""
    os.environ.update(LEAN)  # read when Serve is imported
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(proxy_location="Disabled")
    apps = [f"lsr-{name}-{members.name[:12]}-{n}" for n in range(len(members.shards))]
    there = serve.status().applications
    while any(app in there and there[app].status.value == "DELETING" for app in apps):
        time.sleep(0.1)  # another server has just let go of them
        there = serve.status().applications
    fresh = [app for app in apps if app not in there]
    scaling: dict[str, Any] = {"num_replicas": settings.min_replicas}
    if settings.max_replicas > settings.min_replicas:
        scaling = {
            "autoscaling_config": {
                "min_replicas": settings.min_replicas,
                "max_replicas": settings.max_replicas,
                "target_ongoing_requests": settings.target_ongoing,
            }
        }
    deployment = serve.deployment(
        name="shard",
        max_ongoing_requests=4 * THREADS,
        ray_actor_options={
            "num_cpus": settings.replica_cpus or _share(len(apps) * settings.max_replicas),
            "runtime_env": {"env_vars": dict(LEAN)},
        },
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
        **scaling,
    )(Replica)
    targets = [
        serve.RunTarget(
            deployment.bind(str(path), number, members.name), name=app, route_prefix=None
        )
        for number, app in enumerate(apps)
        if app in fresh
    ]
    if targets:
        serve.run_many(targets, wait_for_applications_running=False)
    try:
        _started(apps)
    except BaseException:
        forget(fresh)
        raise
    return apps, fresh


def _share(n_replicas: int) -> float:
    """Cores a replica may reserve so that all find room; a little is left for Serve itself."""
    import ray

    there = float(ray.cluster_resources().get("CPU", 1.0))
    return min(1.0, max(0.01, int(90 * there / n_replicas) / 100))


def _started(apps: Sequence[str]) -> None:
    """Wait until all applications run. Raises `IndexFailure` with what Ray says of one that
    fails.
    """
    from ray import serve

    until = time.monotonic() + STARTING_S
    while True:
        status = serve.status().applications
        states = {app: status[app].status.value for app in apps if app in status}
        failed = next((app for app, one in states.items() if "FAILED" in one), None)
        if failed is None and time.monotonic() > until:
            failed = next((app for app in apps if states.get(app) != "RUNNING"), None)
        if failed is not None:
            told = status[failed]
            why = "; ".join([told.message, *(one.message for one in told.deployments.values())])
            raise IndexFailure(
                f"{failed}: its replicas do not start ({states[failed]}): {why[:1000]}. The "
                "cluster needs replica_cpus for each, and every machine the set at the same path"
            )
        if all(states.get(app) == "RUNNING" for app in apps):
            return
        time.sleep(0.1)


def forget(apps: Sequence[str]) -> None:
    """Remove applications from the cluster, where there still is one."""
    import ray
    from ray import serve

    if ray.is_initialized():
        for app in apps:
            serve.delete(app, _blocking=False)


class _Shard:
    """What is known of one shard's answers."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
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
        self._shards = [_Shard(handle) for handle in handles]
        self._loop = _loop()
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
                    except (RayError, RayServeException, IndexReplaced) as error:
                        why = error
                    else:
                        shard.suspect = False
                        return answer
                    await asyncio.sleep(0.02)
        except TimeoutError:
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
        running = {asyncio.ensure_future(self._once(shard, question))}
        try:
            delay = shard.delay() if self._settings.hedges else None
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
        started = time.perf_counter()
        response = shard.handle.remote(self._set, question)
        try:
            answer: T = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        shard.took(time.perf_counter() - started)
        return answer


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The loop of all sets: Ray Serve's handles and routers belong to that where they were first
    used, and outlive the sets.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="ray-shards", daemon=True).start()
    return loop
