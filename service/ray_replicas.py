"""The shards of a set as deployments of Ray Serve: what a replica does, and how all are started.

One application a shard, named after the set, so that two builds of it are never mixed; every
replica refuses what is meant for another set all the same. Tested with Ray 2.60.0.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from index import Index, ShardSet
from index.shards import check_member
from lsr.errors import IndexCorrupt, IndexFailure, IndexReplaced

from .settings import OnRay

T = TypeVar("T")
Question = Callable[[Index], T]

THREADS = 8
"""Questions that a replica works on at the same time; more wait in its queue."""
LEAN = {
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(1 << 30),
}
"""Two hops between threads less for each question: ours never blocks the loop it runs in. And
answers may be longer than 4 MiB: stored texts, statistics of large vocabularies."""
STARTING_S = 600.0


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
