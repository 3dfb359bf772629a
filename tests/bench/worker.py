"""One phase of one engine in a process of its own, so that memory and clocks are its own.

`phases.py` passes the task as one JSON argument; the answer is a file, because engines print what
they like.
"""

import json
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from arithmetic import best_with_ties, overlap
from engines import ENGINES
from vectors import VectorSet, ensure, load, rows


def peak_memory() -> int:
    """Bytes of this process's largest resident set.

    Not ru_maxrss on Linux: it survives exec, so a child would inherit the peak of its parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def convert(name: str, folder: Path, shared: Path, order: Path) -> dict[str, Any]:
    """Write what all builds of an engine on a set read."""
    ENGINES[name]().convert(_whole(folder, order), shared)
    return {}


def build(
    name: str, folder: Path, where: Path, order: Path, config: dict[str, Any]
) -> dict[str, Any]:
    """Build once small where that compiles something, then time the whole set."""
    whole = _whole(folder, order)
    if ENGINES[name].compiles:
        small = where.with_name(f"{where.name}.warm")
        shutil.rmtree(small, ignore_errors=True)
        small.mkdir()
        ENGINES[name]().build(whole.head(1000), small, config)
        shutil.rmtree(small)
        whole.docs  # noqa: B018  # read before the clock starts
    wall, cpu = time.perf_counter(), time.process_time()
    notes = ENGINES[name]().build(whole, where, config)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if name == "lsr" and not config:
        from index.segment import Segment

        np.save(order, Segment.open(where / "one.segment").docids)
    size = sum(f.lstat().st_size for f in where.rglob("*") if f.is_file() and not f.is_symlink())
    n_postings = int(np.load(folder / "docs.indptr.npy", mmap_mode="r")[-1])
    return {
        "config": config,
        "seconds": wall,
        "cpu_seconds": cpu,
        "documents_per_second": whole.n_docs / wall,
        "bytes": size,
        "bytes_per_posting": size / n_postings,
        "peak_bytes": peak_memory(),
        "notes": notes,
    }


def search(
    name: str,
    folder: Path,
    where: Path,
    config: dict[str, Any],
    plan: list[tuple[int, str]],
    n_queries: int,
    passes: int,
    truth: Path,
) -> dict[str, Any]:
    """Microseconds of process CPU time of each query, the least of some passes over all queries.

    CPU time, not wall time, because machines are shared; of the process, not the thread, so that
    nobody's work on another thread goes uncounted. `plan` lists (k, mode). Overlap is judged
    against the file of `exact`, after the peak of memory is read.
    """
    engine = ENGINES[name]()
    start = time.perf_counter()
    engine.open(where, config)
    opened = time.perf_counter() - start
    queries = [engine.prepare(*row) for row in rows(load(folder, "queries"), n_queries)]
    timings: dict[str, list[float]] = {}
    found: dict[str, Any] = {}
    clock = time.process_time_ns
    for k, mode in plan:
        answer = engine.searcher(k, mode)
        for query in queries[:20]:
            answer(query)
        best = np.full(len(queries), np.inf)
        for _ in range(passes):
            for i, query in enumerate(queries):
                before = clock()
                answer(query)
                best[i] = min(best[i], clock() - before)
        timings[f"{k}|{mode}"] = (best / 1000).tolist()
        ids = [np.asarray(engine.ids(answer(query)), np.int64)[:k] for query in queries]
        found[f"{k}|{mode}"] = ids
    peak, memory = peak_memory(), engine.memory()
    exact_answers = np.load(truth)
    indptr, best_ids, scores = (exact_answers[x] for x in ("indptr", "ids", "scores"))
    recall: dict[str, float] = {}
    for key, answers in found.items():
        k = int(key.split("|")[0])
        shares = [
            overlap(ids, best_ids[a:b], scores[a:b], k)
            for ids, a, b in zip(answers, indptr[:-1], indptr[1:], strict=True)
        ]
        recall[key] = float(np.mean([share for share in shares if share is not None]))
    return {
        "config": config,
        "timings": timings,
        "overlap": recall,
        "peak_bytes": peak,
        "index_bytes": memory,
        "open_seconds": opened,
    }


def exact(folder: Path, truth: Path, n_queries: int, k: int) -> dict[str, Any]:
    """Write the exact float top k of every query, ties included, unless that is there already."""
    if truth.exists():
        return {}
    columns = load(folder, "docs").T.tocsr()
    ids, scores, indptr = [], [], [0]
    for terms, weights in rows(load(folder, "queries"), n_queries):
        summed = weights.astype(np.float64) @ columns[terms].astype(np.float64)
        best, best_scores = best_with_ties(summed, k)
        ids.append(best)
        scores.append(best_scores)
        indptr.append(indptr[-1] + len(best))
    fresh = truth.with_name(f"fresh.{truth.name}")
    np.savez(fresh, ids=np.concatenate(ids), scores=np.concatenate(scores), indptr=indptr)
    fresh.rename(truth)
    return {}


def describe(folder: Path) -> dict[str, Any]:
    """What the set is: counts and where it comes from."""
    queries = load(folder, "queries")
    indptr = np.load(folder / "docs.indptr.npy", mmap_mode="r")
    about: dict[str, Any] = json.loads((folder / "set.json").read_text())
    about |= {"n_docs": len(indptr) - 1, "n_postings": int(indptr[-1])}
    return about | {"n_queries": queries.shape[0], "query_terms": queries.nnz / queries.shape[0]}


def _whole(folder: Path, order: Path) -> VectorSet:
    return VectorSet.whole(folder, np.load(order) if order.exists() else None)


def main() -> None:
    """Run the phase that the JSON object of argv[1] asks for; write the answer where it says."""
    task = json.loads(sys.argv[1])
    phase, answer_path = task.pop("phase"), Path(task.pop("answer"))
    paths = ("folder", "where", "order", "shared", "truth", "data")
    task = {key: Path(value) if key in paths else value for key, value in task.items()}
    match phase:
        case "make":
            answer = describe(ensure(task["set_name"], task["data"]))
        case "details":
            from details import details  # it loads our core, which rivals need not carry

            answer = details(**task)
        case _:
            answer = {"convert": convert, "build": build, "search": search, "exact": exact}[phase](
                **task
            )
    answer_path.write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
