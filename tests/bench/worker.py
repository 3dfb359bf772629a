"""One phase of one engine in a process of its own, so that memory and clocks are its own.

`run.py` passes the task as one JSON argument; the answer is the file `answer.json`, because engines
print what they like.
"""

import json
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from engines import ENGINES
from vectors import VectorSet, ensure, load, rows

REPEATS = 3


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


def build(name: str, folder: Path, work: Path) -> dict[str, Any]:
    """Build once small, to compile and import everything, then time the whole set."""
    about = json.loads((folder / "set.json").read_text())
    order = np.load(work / "order.npy") if (work / "order.npy").exists() else None
    whole = VectorSet(folder, load(folder, "docs"), about["max_weight"], order)
    for vectors, where in ((whole.head(1000), work / "warm"), (whole, work / name)):
        where.mkdir()
        wall, cpu = time.perf_counter(), time.process_time()
        notes = ENGINES[name]().build(vectors, where)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    shutil.rmtree(work / "warm")
    if name == "lsr":
        from index.segment import Segment

        np.save(work / "order.npy", Segment.open(work / name / "one.segment").docids)
    size = sum(f.stat().st_size for f in (work / name).rglob("*") if f.is_file())
    return {
        "seconds": wall,
        "cpu_seconds": cpu,
        "documents_per_second": whole.docs.shape[0] / wall,
        "bytes": size,
        "bytes_per_posting": size / whole.docs.nnz,
        "peak_bytes": peak_memory(),
        "notes": notes,
    }


def search(name: str, folder: Path, work: Path, n_queries: int, ks: list[int]) -> dict[str, Any]:
    """Microseconds of process CPU time of each query, the least of three passes over all queries.

    CPU time, not wall time, because machines are shared; of the process, not the thread, so that
    nobody's work on another thread goes uncounted.
    """
    engine = ENGINES[name]()
    start = time.perf_counter()
    engine.open(work / name)
    opened = time.perf_counter() - start
    queries = [engine.prepare(*row) for row in rows(load(folder, "queries"), n_queries)]
    timings: dict[str, list[float]] = {}
    found: dict[str, Any] = {}
    for k in ks:
        for mode in engine.modes:
            for query in queries[:20]:
                engine.search(query, k, mode)
            best = np.full(len(queries), np.inf)
            for _ in range(REPEATS):
                for i, query in enumerate(queries):
                    before = time.process_time_ns()
                    engine.search(query, k, mode)
                    best[i] = min(best[i], time.process_time_ns() - before)
            ids = np.full((len(queries), k), -1, np.int32)
            for i, query in enumerate(queries):
                row = np.asarray(engine.ids(engine.search(query, k, mode)), np.int64)[:k]
                ids[i, : len(row)] = row
            timings[f"{k}|{mode}"] = (best / 1000).tolist()
            found[f"{k}|{mode}"] = ids
    peak = peak_memory()
    np.savez(work / f"{name}.found.npz", **found)
    return {"timings": timings, "peak_bytes": peak, "open_seconds": opened}


def judge(folder: Path, work: Path, n_queries: int) -> dict[str, Any]:
    """Share of the exact float top k that each answer holds; documents tied with the k-th count.

    A tie is 1e-6 relative: float32 sums in another order differ by that much.
    """
    columns = load(folder, "docs").T.tocsr()
    answers: dict[tuple[str, str], Any] = {}
    for path in sorted(work.glob("*.found.npz")):
        answers |= {(path.name.removesuffix(".found.npz"), k): v for k, v in np.load(path).items()}
    shares: dict[tuple[str, str], list[float]] = {key: [] for key in answers}
    for i, (terms, weights) in enumerate(rows(load(folder, "queries"), n_queries)):
        scores = weights.astype(np.float64) @ columns[terms].astype(np.float64)
        n_matching = int((scores > 0).sum())
        cuts: dict[int, float] = {}
        for key, ids in answers.items():
            size = min(ids.shape[1], n_matching)
            if not size:
                continue
            if size not in cuts:
                cuts[size] = np.partition(scores, -size)[-size] * (1 - 1e-6)
            n_good = int((scores[np.unique(ids[i][ids[i] >= 0])] >= cuts[size]).sum())
            shares[key].append(min(n_good, size) / size)
    out: dict[str, dict[str, float]] = {}
    for (name, setting), values in shares.items():
        out.setdefault(name, {})[setting] = float(np.mean(values))
    return out


def describe(folder: Path) -> dict[str, Any]:
    """What the set is: counts and where it comes from."""
    docs, queries = load(folder, "docs"), load(folder, "queries")
    about: dict[str, Any] = json.loads((folder / "set.json").read_text())
    about |= {"n_docs": docs.shape[0], "n_postings": docs.nnz, "n_queries": queries.shape[0]}
    about["query_terms"] = queries.nnz / queries.shape[0]
    return about


def main() -> None:
    """Run the phase that the JSON object of argv[1] asks for; write the answer where it says."""
    task = json.loads(sys.argv[1])
    folder, work = Path(task["folder"]), Path(task["work"])
    match task["phase"]:
        case "make":
            answer = describe(ensure(task["set"], folder))
        case "build":
            answer = build(task["engine"], folder, work)
        case "search":
            answer = search(task["engine"], folder, work, task["queries"], task["k"])
        case "judge":
            answer = judge(folder, work, task["queries"])
    (work / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
