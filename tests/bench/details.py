"""What only our engine is asked: filters, batches, threads, worst queries, opening, bytes by part.

All through one segment, like the driver `lsr`. CPU time of the process where nothing is said.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from vectors import load, rows

from index import engine, layout
from index.live import Live, pack
from index.quantize import IntegerQuery, integer_query
from index.segment import Segment

SELECTIVITIES = (0.01, 0.1, 0.5)
BATCH = 32
ROUNDS = 5
SLOW = 1.1
"""A query counts as slower than exhaustive search from this factor on."""
GROUPS = {"external": "ids", "group": "ids", "ids": "ids", "columns": "columns"}
"""Part of each section that a search does not read; forward vectors are `forward`."""


def details(folder: Path, where: Path, n_queries: int, ks: list[int]) -> dict[str, Any]:
    """All measurements on the built index in `where`."""
    path = where / "one.segment"
    opened = []
    for _ in range(5):
        start = time.perf_counter()
        Segment.open(path).close()
        opened.append(time.perf_counter() - start)
    with Segment.open(path) as segment:
        float_queries = rows(load(folder, "queries"), n_queries)
        sizes = {"n_terms": segment.n_terms, "scale": segment.scale}
        queries = [integer_query(*query, **sizes) for query in float_queries]
        return {
            "open_seconds": float(np.median(opened)),
            "bytes_per_posting": bytes_by_part(path, segment),
            "filters": {str(k): _filters(segment, queries, k) for k in ks},
            "against_exhaustive": {str(k): _worst(segment, queries, k) for k in ks},
            "batch": {str(k): _batch(segment, queries, k) for k in ks},
            "threads": {str(k): _threads(segment, queries, k) for k in ks},
        }


def bytes_by_part(path: Path, segment: Segment) -> dict[str, float]:
    """Bytes a posting of the search sections, ids, columns and forward vectors."""
    with path.open("rb") as file:
        head = file.read(layout.HEADER_BYTES)
    parts: dict[str, int] = defaultdict(int)
    for entry in layout.decode_header(head, path=path, n_bytes=path.stat().st_size).entries:
        name = entry.section.name
        if name in layout.SEARCH_SECTIONS:
            parts["search"] += entry.length
            parts[f"search: {name}"] += entry.length
        else:
            parts[GROUPS.get(name, "forward")] += entry.length
    return {name: length / segment.n_postings for name, length in parts.items()}


def _least(searches: list[Callable[[IntegerQuery], Any]], queries: list[IntegerQuery]) -> Any:
    """(searches, queries) microseconds, the least of three rounds; searches take turns."""
    least = np.full((len(searches), len(queries)), np.inf)
    for search in searches:
        for query in queries[:20]:
            search(query)
    for _ in range(3):
        for s, search in enumerate(searches):
            for q, query in enumerate(queries):
                before = time.process_time_ns()
                search(query)
                least[s, q] = min(least[s, q], time.process_time_ns() - before)
    return least / 1000


def _searcher(
    segment: Segment, k: int, *, live: Live | None = None, algorithm: engine.Algorithm = "auto"
) -> Callable[[IntegerQuery], Any]:
    segments, masks = [segment], [live]
    return lambda query: engine.search(segments, masks, query, k, algorithm=algorithm)


def _filters(segment: Segment, queries: list[IntegerQuery], k: int) -> dict[str, Any]:
    """Exact search among a random share of the documents, against all of them."""
    rng = np.random.default_rng(3)
    chosen = rng.random(segment.n_docs)
    masks: list[Live | None] = [None, *(pack(chosen < share) for share in SELECTIVITIES)]
    times = _least([_searcher(segment, k, live=mask) for mask in masks], queries)
    means = times.mean(axis=1)
    return {
        "unfiltered us": float(means[0]),
        **{f"{s:g}": float(m / means[0]) for s, m in zip(SELECTIVITIES, means[1:], strict=True)},
    }


def _worst(segment: Segment, queries: list[IntegerQuery], k: int) -> dict[str, Any]:
    """Query by query against exhaustive search, and the 99th percentiles of both."""
    names: tuple[engine.Algorithm, ...] = ("exhaustive", "auto", "blockmax")
    times = _least([_searcher(segment, k, algorithm=name) for name in names], queries)
    out: dict[str, Any] = {"exhaustive p99 us": float(np.percentile(times[0], 99))}
    for name, own in zip(names[1:], times[1:], strict=True):
        out[name] = {
            "share slower": float(np.mean(own > SLOW * times[0])),
            "p99 ratio": float(np.percentile(own, 99) / np.percentile(times[0], 99)),
            "mean speedup": float(times[0].mean() / own.mean()),
        }
    return out


def _batch(segment: Segment, queries: list[IntegerQuery], k: int) -> dict[str, float]:
    """Queries of `BATCH` at once against one by one, in this thread; the best of rounds in turn."""
    whole = len(queries) // BATCH * BATCH
    parts = [queries[a : a + BATCH] for a in range(0, whole, BATCH)]
    single, batched = [], []
    for _ in range(ROUNDS):
        single.append(
            _cpu(lambda: [engine.search([segment], [None], q, k) for q in queries[:whole]])
        )
        batched.append(_cpu(lambda: [engine.search_batch([segment], [None], p, k) for p in parts]))
    per_query = 1e6 / max(whole, 1)
    return {
        "single us": min(single) * per_query,
        "batch us": min(batched) * per_query,
        "speedup": min(single) / min(batched),
    }


def _threads(segment: Segment, queries: list[IntegerQuery], k: int) -> dict[str, float]:
    """Wall time of one batch of all queries on one thread and on two; best of rounds in turn."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for threads, walls in found.items():
            start = time.perf_counter()
            engine.search_batch([segment], [None], queries, k, threads=threads)
            walls.append(time.perf_counter() - start)
    one, two = min(found[1]), min(found[2])
    return {"queries/s, 1 thread": len(queries) / one, "speedup of 2": one / two}


def _cpu(work: Callable[[], Any]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before
