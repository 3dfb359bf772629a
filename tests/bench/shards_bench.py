"""The constants of the cost model in service/SCALING.md, measured again; tables and a drawing.

    python tests/bench/shards_bench.py --documents 200000 --plot service/scaling

One index and sets of 2 and 4 shards of the same vectors (vectors.py), from one encoder that looks
them up. Times are the least of three rounds, in which the sides take turns: other work on the
machine makes them longer, ratios less so.
"""

import argparse
import json
import pickle
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import heading, machine
from scipy import sparse
from shards_model import draw, table
from vectors import VectorSet, ensure, load

from index import Index, Settings, build_index, build_shards, one_after_the_other
from index.exchange import export_index
from index.sharded import ShardedIndex, merged
from lsr.types import Document, SparseMatrix

GIB = 2**30


class Rows:
    """An encoder of nothing: a text is the number of a row of the set."""

    name, space, build, folder = "rows", "0" * 16, "1" * 16, None
    max_weight, text_fields, query_strategy = 4.0, ("text",), "model"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._docs: SparseMatrix | None = None
        self.n_terms = VectorSet.whole(folder).n_terms

    def encode_documents(self, texts: list[str]) -> SparseMatrix:
        """The rows of these numbers."""
        if self._docs is None:
            self._docs = load(self._folder, "docs")
        return sparse.csr_array(self._docs[[int(text) for text in texts]])


def documents(n: int) -> Iterator[Document]:
    """Numbers for texts."""
    return (Document(f"d{i}", {"text": str(i)}) for i in range(n))


def turns(sides: dict[str, Callable[[], Any]], rounds: int = 3) -> dict[str, float]:
    """Seconds of each side, the least of some rounds in which they take turns."""
    least = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            least[name] = min(least[name], time.perf_counter() - started)
    return least


def cpu_of(search: Callable[[SparseMatrix], Any], queries: SparseMatrix) -> list[float]:
    """CPU microseconds of this thread for each query, the least of three."""
    times = []
    for _ in range(3):
        one = []
        for row in range(queries.shape[0]):
            query = queries[[row], :]
            started = time.thread_time()
            search(query)
            one.append((time.thread_time() - started) * 1e6)
        times.append(one)
    return np.min(times, axis=0).tolist()


def wall_of(run: Callable[[int], Any], n: int) -> tuple[float, float]:
    """p50 and p95 in milliseconds."""
    times = []
    for at in range(n):
        started = time.perf_counter()
        run(at)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times), float(np.percentile(times, 95))


def searched(one: Index, parts: ShardedIndex, queries: SparseMatrix, k: int) -> dict[str, float]:
    """CPU of one index and of the slowest shard of each query; what merging adds to it."""
    shards = [Index.open(parts.path / shard.name, read_only=True) for shard in parts.members.shards]
    of_one = cpu_of(lambda query: one.search(query, k), queries)
    of_shards = [cpu_of(lambda q, s=shard: s.search(q, k), queries) for shard in shards]
    found = [[s.search(queries[[r], :], k) for s in shards] for r in range(queries.shape[0])]
    starts = np.asarray(parts.members.starts)
    merging = wall_of(lambda at: merged(found[at], starts, k, 1), len(found))
    slowest = np.max(of_shards, axis=0)
    return {
        "one_us": float(np.mean(of_one)),
        "slowest_shard_us": float(np.mean(slowest)),
        "ratio": float(np.mean(of_one) / np.mean(slowest)),
        "merge_p50_ms": merging[0],
        "reply_bytes": len(pickle.dumps((queries[[0], :], found[0][0]))),
    }


def over_ray(parts: Path, local: Index, queries: SparseMatrix, k: int) -> dict[str, float]:
    """p50 of one search after the other, milliseconds: by threads here, and through replicas with
    questions and answers by value, as served, or in Ray's object store. Merging is part of each.
    """
    from lsr.ray_cluster import cluster
    from service.ray_shards import RayShards, open_on_ray
    from service.settings import OnRay

    rows = [queries[[at], :] for at in range(queries.shape[0])]
    took: dict[str, list[float]] = {"local": [], "by_value": [], "by_reference": []}
    with cluster("this benchmark"):
        index = open_on_ray("bench", parts, OnRay(replica_cpus=0.5))
        shards = index.shards
        assert isinstance(shards, RayShards)
        by_value = [shard.by_value for shard in shards._shards]
        for turn in range(4):  # the first warms up
            for way, times in took.items():
                for shard, handle in zip(shards._shards, by_value, strict=True):
                    shard.by_value = handle if way == "by_value" else None
                for row in rows:
                    started = time.perf_counter()
                    (local if way == "local" else index).search(row, k)
                    times.append((time.perf_counter() - started) * 1e3)
                if turn == 0:
                    times.clear()
        index.close()
    p50 = {way: statistics.median(times) for way, times in took.items()}
    return {
        "local_p50_ms": p50["local"],
        "ray_p50_ms": p50["by_value"],
        "added_p50_ms": p50["by_value"] - p50["local"],
        "by_reference_added_p50_ms": p50["by_reference"] - p50["local"],
    }


def built_on_ray(folder: Path, data: Path, n: int) -> dict[str, float]:
    """Seconds of a build in this process and of four shards in tasks, cluster already up."""
    from index.ray_building import on_ray
    from lsr.ray_cluster import cluster

    plain = Settings("none")

    def alone() -> None:
        shutil.rmtree(folder / "alone", ignore_errors=True)
        build_index(
            folder / "alone", documents(n), Rows(data), source="s", settings=plain, progress=False
        )

    def tasks() -> None:
        shutil.rmtree(folder / "four", ignore_errors=True)
        run = on_ray(partial(_listed, n), partial(Rows, data))
        build_shards(
            folder / "four", Rows(data), run, source="s", n_docs=n, n_shards=4, settings=plain
        )

    with cluster("this benchmark"):
        took = turns({"alone": alone, "four": tasks}, rounds=2)
    return {**took, "ratio": took["four"] / took["alone"]}


def _listed(n: int) -> Iterable[Document]:
    return list(documents(n))


def main() -> None:
    """Measure, print, draw."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--documents", type=int, default=200_000)
    reader.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "lsr-bench")
    reader.add_argument("-k", type=int, default=10)
    reader.add_argument("--queries", type=int, default=200)
    reader.add_argument("--no-ray", action="store_true")
    reader.add_argument("--plot", type=Path, help="write PATH.svg")
    reader.add_argument("--json", type=Path)
    asked = reader.parse_args()
    where = machine()
    print(heading(where))
    name = "t200s" if asked.documents == 200_000 else f"topic-{asked.documents}"
    data = ensure(name, asked.data)
    queries = sparse.csr_array(load(data, "queries")[: asked.queries])
    facts: dict[str, Any] = {"machine": where, "documents": asked.documents}
    with tempfile.TemporaryDirectory(dir=asked.data) as place:
        folder = Path(place)
        encoder = Rows(data)
        started = time.process_time()
        build_index(folder / "one", documents(asked.documents), encoder, source="s", progress=False)
        facts["build_cpu_us"] = (time.process_time() - started) / asked.documents * 1e6
        with Index.open(folder / "one", read_only=True) as one:
            info = one.info()
            for size in ("segment_bytes", "search_bytes", "catalog_bytes"):
                facts[size] = info[size] / asked.documents
            for n in (2, 4):
                build_shards(
                    folder / f"set-{n}",
                    encoder,
                    one_after_the_other(partial(documents, asked.documents), encoder),
                    source="s",
                    n_docs=asked.documents,
                    n_shards=n,
                )
                with Index.open(folder / f"set-{n}") as parts:
                    assert isinstance(parts, ShardedIndex)
                    facts[f"shards_{n}"] = searched(one, parts, queries, asked.k)
                    if n == 2 and not asked.no_ray:
                        facts["serve"] = over_ray(folder / "set-2", parts, queries, asked.k)
            started = time.process_time()
            export_index(one, folder / "out", "jsonl", encoder=None, name="bench", text="text")
            took = time.process_time() - started
            facts["jsonl_docs_per_cpu_s"] = asked.documents / took
        if not asked.no_ray:
            facts["build_on_ray"] = built_on_ray(folder, data, min(asked.documents, 100_000))
    print(json.dumps(facts, indent=2, default=str))
    if asked.json:
        asked.json.write_text(json.dumps(facts, indent=2, default=str))
    print(table(facts))
    if asked.plot:
        draw(facts, asked.plot)


if __name__ == "__main__":
    sys.exit(main())
