"""Every constant of the cost model in service/SCALING.md, measured; tables and a drawing.

    python tests/bench/shards_bench.py --documents 200000 --json service/scaling.json

adds a run to the file, or replaces the one of as many documents; what the page shows is then

    python tests/bench/shards_model.py service/scaling.json --plot service/scaling

One index and sets of 2 and 4 shards of the same vectors (vectors.py), from one encoder that looks
them up, and an index of each of the other --sizes. Times are the least of three rounds, in which
the sides take turns: other work on the machine makes them longer, ratios less so.
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
from datetime import date
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from machine import heading, machine
from scipy import sparse
from shards_model import Constants, draw, told
from vectors import VectorSet, ensure, load

from index import Index, Settings, build_index, build_shards, one_after_the_other
from index.exchange import export_index
from index.sharded import ShardedIndex, merged
from lsr.types import Document, SparseMatrix


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
        "reply_bytes": statistics.median(
            len(pickle.dumps(partial(Index.search_batch, queries=queries[[row], :], k=k)))
            + len(pickle.dumps([found[row][0]]))
            for row in range(len(found))
        ),
    }


def built(folder: Path, data: Path, n: int, settings: Settings) -> float:
    """CPU microseconds a document of a build, without encoding."""
    shutil.rmtree(folder, ignore_errors=True)
    encoder = Rows(data)
    encoder.encode_documents(["0"])  # reading the vectors is not building
    started = time.process_time()
    build_index(folder, documents(n), encoder, source="s", settings=settings, progress=False)
    return (time.process_time() - started) / n * 1e6


def searched_at(folder: Path, place: Path, n: int, k: int, n_queries: int) -> float:
    """Mean CPU microseconds of a search of an index of `n` documents."""
    data = ensure(f"topic-{n}", place)
    built(folder, data, n, Settings())
    queries = sparse.csr_array(load(data, "queries")[:n_queries])
    with Index.open(folder, read_only=True) as index:
        return float(np.mean(cpu_of(lambda query: index.search(query, k), queries)))


def encoded() -> dict[str, float]:
    """Documents a second of CPU: the encoder that comes with the package, and BM25."""
    from lsr.datasets import load_dataset
    from lsr.encoders import load_encoder
    from lsr.encoders.bm25 import BM25Encoder

    texts = [document.text() for document in islice(load_dataset("python-docs").documents(), 400)]
    rates = {}
    for name, encoder in (("lsr-mini", load_encoder("lsr-mini")), ("bm25", BM25Encoder.fit(texts))):
        encoder.encode_documents(texts[:20])
        started = time.process_time()
        encoder.encode_documents(texts)
        rates[name] = len(texts) / (time.process_time() - started)
    return rates


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


def rounded(fact: Any) -> Any:
    """Five digits of every measured number.

    >>> rounded({"a": [1.234567, 1234567]})
    {'a': [1.2346, 1234567]}
    """
    if isinstance(fact, dict):
        return {name: rounded(value) for name, value in fact.items()}
    if isinstance(fact, list):
        return [rounded(value) for value in fact]
    return float(f"{fact:.5g}") if isinstance(fact, float) else fact


def main() -> None:
    """Measure, keep, print, draw."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--documents", type=int, default=200_000)
    reader.add_argument(
        "--sizes", default="", help="others to search; by default a quarter and half"
    )
    reader.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "lsr-bench")
    reader.add_argument("-k", type=int, default=10)
    reader.add_argument("--queries", type=int, default=200)
    reader.add_argument("--no-ray", action="store_true")
    reader.add_argument("--plot", type=Path, help="write PATH.svg")
    reader.add_argument("--json", type=Path, help="the file that this run is added to")
    asked = reader.parse_args()
    n = asked.documents
    sizes = [int(size) for size in asked.sizes.split(",") if size] or [n // 4, n // 2]
    where = machine()
    print(heading(where))
    data = ensure("t200s" if n == 200_000 else f"topic-{n}", asked.data)
    queries = sparse.csr_array(load(data, "queries")[: asked.queries])
    facts: dict[str, Any] = {
        "documents": n,
        "date": date.today().isoformat(),
        "machine": where,
        "terms_a_document": load(data, "docs").nnz / n,
        "terms_a_query": queries.nnz / queries.shape[0],
        "encoded_docs_per_cpu_s": encoded(),
    }
    with tempfile.TemporaryDirectory(dir=asked.data) as place:
        folder = Path(place)
        facts["search_us"] = {
            str(size): searched_at(folder / "small", asked.data, size, asked.k, asked.queries)
            for size in sizes
        }
        plain = built(folder / "one", data, n, Settings("none"))
        facts["build_cpu_us"] = plain
        facts["ordering_cpu_us"] = built(folder / "one", data, n, Settings()) - plain
        encoder = Rows(data)
        with Index.open(folder / "one", read_only=True) as one:
            info = one.info()
            for size in ("segment_bytes", "search_bytes", "catalog_bytes"):
                facts[size] = info[size] / n
            for n_shards in (2, 4):
                build_shards(
                    folder / f"set-{n_shards}",
                    encoder,
                    one_after_the_other(partial(documents, n), encoder),
                    source="s",
                    n_docs=n,
                    n_shards=n_shards,
                )
                with Index.open(folder / f"set-{n_shards}") as parts:
                    assert isinstance(parts, ShardedIndex)
                    facts[f"shards_{n_shards}"] = searched(one, parts, queries, asked.k)
                    if n_shards == 2 and not asked.no_ray:
                        facts["serve"] = over_ray(folder / "set-2", parts, queries, asked.k)
            facts["search_us"][str(n)] = facts["shards_2"]["one_us"]
            started = time.process_time()
            export_index(one, folder / "out", "jsonl", encoder=None, name="bench", text="text")
            facts["jsonl_docs_per_cpu_s"] = n / (time.process_time() - started)
        if not asked.no_ray:
            facts["build_on_ray"] = built_on_ray(folder, data, min(n, 100_000))
    print(json.dumps(facts, indent=2, default=str))
    runs = [facts]
    if asked.json:
        kept = json.loads(asked.json.read_text())["runs"] if asked.json.is_file() else []
        runs += [run for run in kept if run["documents"] != n]
        runs.sort(key=lambda run: run["documents"])
        asked.json.write_text(json.dumps({"runs": rounded(runs)}, indent=1) + "\n")
    print(told(Constants.of(runs)))
    if asked.plot:
        draw(Constants.of(runs), asked.plot)


if __name__ == "__main__":
    sys.exit(main())
