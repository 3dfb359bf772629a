"""The shards of a set built by tasks of a Ray cluster, as many at a time as it has room for.

A task reads the corpus up to its part, encodes it and builds its shard, so that no vector travels.
Ray starts a task again whose worker or machine died, and the build goes on from what was flushed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from lsr.encoders.protocol import SparseEncoder
from lsr.errors import IndexLocked
from lsr.progress import Bar, bar
from lsr.ray_cluster import unwrapped
from lsr.types import Document

from .sharding import Runner, ShardPlan, build_shard

RETRIES = 3
"""How often a task is started again, by Ray's own default."""

Corpus = Callable[[], Iterable[Document]]
Encoder = Callable[[], SparseEncoder]


def on_ray(corpus: Corpus, encoder: Encoder, *, cpus: int = 1, gpus: float = 0) -> Runner:
    """Build shards in tasks that have `cpus` cores and `gpus` devices each, on the cluster that
    this process is connected to.

    Both callables are sent to the tasks; `corpus` streams the documents from the start, on every
    machine the same ones.
    """

    def run(plan: ShardPlan, numbers: Sequence[int]) -> None:
        import ray

        plan = replace(plan, threads=plan.threads or cpus)
        # A worker that was given up may hold its lock for a moment longer.
        build = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=[IndexLocked]
        )(_build)
        sent = ray.put((corpus, encoder))
        waiting = {build.remote(plan, number, sent): number for number in numbers}
        total = sum(b - a for a, b in map(plan.span, numbers))
        counter: Bar[None] = bar(total=total, unit="documents", desc="indexed")
        with counter:
            while waiting:
                done, _ = ray.wait(list(waiting), num_returns=1)
                first, last = plan.span(waiting.pop(done[0]))
                try:
                    ray.get(done[0])
                except ray.exceptions.RayError as error:
                    for task in waiting:
                        ray.cancel(task)
                    if waiting:
                        ray.wait(list(waiting), num_returns=len(waiting))
                    raise unwrapped(error) from None
                counter.update(last - first)

    return run


def _build(plan: ShardPlan, number: int, sent: tuple[Corpus, Encoder]) -> None:
    corpus, encoder = sent
    build_shard(plan, number, corpus(), encoder())
