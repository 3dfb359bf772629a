"""Cost of our exact search against the number of documents: sets `topic-N` and a drawing."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from phases import Bench

ONE_SEGMENT = 1_000_000


def scaling(sizes: list[int], data: Path, ks: list[int], n_queries: int) -> list[dict[str, Any]]:
    """One row a size: build and exact search of our engine; sets made here are removed after.

    Up to `ONE_SEGMENT` documents are built as one segment from vectors in memory; more than that
    by `Index.bulk` in bounded memory, into as many segments as it takes, and searched as users do.
    """
    out = []
    for size in sizes:
        name, driver = f"topic-{size}", "lsr" if size <= ONE_SEGMENT else "lsr-index"
        kept = (data / name).exists()
        print(f"scaling: {size:,} documents, {driver}", file=sys.stderr, flush=True)
        bench = Bench.of(name, data, n_queries)
        where, built = bench.built(driver, {}, reuse=False)
        searched = bench.searched(driver, where, {}, [(k, "auto") for k in ks])
        row: dict[str, Any] = {"n_docs": size, "n_postings": bench.about["n_postings"]}
        row |= {"driver": driver, "notes": built["notes"]}
        row |= {"build_cpu_seconds": built["cpu_seconds"], "bytes": built["bytes"]}
        row |= {"build_peak_bytes": built["peak_bytes"], "open_seconds": searched["open_seconds"]}
        for k in ks:
            times = searched["timings"][f"{k}|auto"]
            p50, p99 = np.percentile(times, (50, 99))
            row[str(k)] = {"mean": float(np.mean(times)), "p50": float(p50), "p99": float(p99)}
        out.append(row)
        if not kept:
            shutil.rmtree(bench.folder)
        shutil.rmtree(bench.cache)
    return out


def scaling_table(found: list[dict[str, Any]], ks: list[int]) -> str:
    """The rows as lines for people."""
    heads = "".join(f"{f'k={k} {name}':>14}" for k in ks for name in ("mean us", "p50", "p99"))
    lines = [f"{'documents':<12}{heads}{'build CPU s':>13}{'peak MB':>9}{'open ms':>9}"]
    for row in found:
        times = "".join(
            f"{row[str(k)][name]:>14,.0f}" for k in ks for name in ("mean", "p50", "p99")
        )
        lines.append(
            f"{row['n_docs']:<12,}{times}{row['build_cpu_seconds']:>13.1f}"
            f"{row['build_peak_bytes'] / 1e6:>9,.0f}{row['open_seconds'] * 1000:>9.1f}"
        )
    return "\n".join(lines)
