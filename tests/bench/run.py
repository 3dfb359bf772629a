"""`make bench`: exact search, indexing and memory of our engine beside others, on the same vectors.

Every engine builds in one process and searches in another (`worker.py`); it searches with one
thread, one query at a time. Progress goes to stderr, the tables to stdout.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from engines import ENGINES, TEXT_ONLY, installed
from machine import heading, machine
from phases import Bench, default_data
from report import NOTES, draw, table

TEXT_ENGINES = ["lsr", "lsr-index", "scipy", "bm25s"]
VECTOR_ENGINES = ["lsr", "lsr-index", "scipy", "scipy-product", "splade-index", "bmp", "seismic"]
"""The engines that users meet first; `engine_bench.py` compares with all."""


def measure(set_name: str, engines: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """All phases of all engines on one set; what they build is removed after."""
    with tempfile.TemporaryDirectory(dir=options.data) as scratch:
        bench = Bench.of(set_name, options.data, options.queries, cache=Path(scratch))
        ks = [k for k in options.k if k < bench.about["n_docs"]]
        results: dict[str, Any] = {}
        for name in engines:
            found = installed(name)
            if found is None:
                results[name] = {"missing": ENGINES[name].package}
                continue
            print(f"{set_name}: {name} {found}", file=sys.stderr, flush=True)
            config = ENGINES[name]().configurations(set_name)[0]
            where, built = bench.built(name, config, reuse=False)
            searched = bench.searched(name, where, config, bench.modes(name, ks))
            overlap = searched.pop("overlap")
            results[name] = {"version": found, "build": built, "search": searched}
            results[name]["overlap"] = overlap
    report = {"set": set_name, "about": bench.about, "queries": bench.n_queries}
    return report | {"k": ks, "engines": results}


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--set", default="t200s", choices=["t200s", "small"], help="vectors (default t200s)")
    add("--text", default="python-docs", help="data set of the BM25 table, or none")
    add("--engines", help="comma-separated; more than usual: " + ", ".join(ENGINES))
    add("--queries", type=int, default=300, help="how many (default 300)")
    add("--k", default="10,1000", help="comma-separated (default 10,1000)")
    add(
        "--data",
        type=Path,
        default=default_data(),
        help="folder that keeps the sets (default %(default)s)",
    )
    add("--json", type=Path, help="write every figure here")
    add("--plot", type=Path, help="draw the distribution of latencies here (needs matplotlib)")
    chosen = parser.parse_args()
    chosen.k = [int(k) for k in chosen.k.split(",")]
    chosen.engines = chosen.engines.split(",") if chosen.engines else []
    if unknown := set(chosen.engines) - set(ENGINES):
        parser.error(f"unknown engine {', '.join(unknown)}; known: {', '.join(ENGINES)}")
    chosen.data.mkdir(parents=True, exist_ok=True)
    return chosen


def main() -> None:
    """Run, print, and write JSON and drawing where asked."""
    chosen, where = options(), machine()
    print(heading(where))
    plans = [(chosen.set, VECTOR_ENGINES)]
    if chosen.text != "none":
        plans.append((f"bm25-{chosen.text}", TEXT_ENGINES))
    reports = []
    for set_name, engines in plans:
        if chosen.engines:
            more = [] if set_name != chosen.set else list(set(ENGINES) - set(TEXT_ONLY))
            engines = [name for name in chosen.engines if name in (*engines, *more)]
        reports.append(measure(set_name, engines, chosen))
        print(f"\n{table(reports[-1])}", flush=True)
    print(f"\n{NOTES}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": where, "reports": reports}))
    if chosen.plot:
        draw(where, reports[0], chosen.plot)


if __name__ == "__main__":
    main()
