"""`python tests/bench/tune.py`: run the grids of approximate engines once, keep their best points.

Writes `tuned.json`, which `engine_bench.py` reads: for each set, engine and k the points that no
other point beats on time and recall, with the version, machine and date of the measurement. Grids
are timed in one pass, points near the best again in three, so that a busy moment hides no winner.
Indexes stay in the cache.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from arithmetic import Point, pareto
from engines import ENGINES, installed
from machine import machine
from phases import Bench, PhaseFailed, default_data, label

TUNED = Path(__file__).resolve().parent / "tuned.json"
NEAR = 1.15
"""Points within this factor of the best are timed again."""


def points_of(searched: dict[str, Any]) -> dict[int, list[Point]]:
    """The points of one search phase by k."""
    out: dict[int, list[Point]] = {}
    for key, times in searched["timings"].items():
        k, mode = key.split("|")
        point = Point(searched["config"], mode, float(np.mean(times)), searched["overlap"][key])
        out.setdefault(int(k), []).append(point)
    return out


def tune(bench: Bench, name: str, ks: list[int], n_builds: int) -> dict[str, Any]:
    """The best points of an engine on a set by k, over its first `n_builds` builds."""
    found: dict[int, list[Point]] = {k: [] for k in ks}
    tried = []
    for config in ENGINES[name]().configurations(bench.set_name)[:n_builds]:
        try:
            where, figures = bench.built(name, config, reuse=True)
            searched = bench.searched(name, where, config, bench.modes(name, ks), passes=1)
        except PhaseFailed as failed:
            print(failed, file=sys.stderr, flush=True)
            continue
        tried.append(config)
        for k, points in points_of(searched).items():
            found[k] += points
            best = ", ".join(f"{p.microseconds:.0f} us {p.recall:.3f}" for p in pareto(points))
            print(f"{bench.set_name} {name} {label(config)} k={k}: {best}", file=sys.stderr)
        print(f"  built in {figures['cpu_seconds']:.0f} CPU s", file=sys.stderr, flush=True)
    again: dict[int, list[Point]] = {k: [] for k in ks}
    for config in tried:
        near = {k: pareto(found[k], slack=NEAR) for k in ks}
        plan = [(k, p.mode) for k in ks for p in near[k] if p.config == config]
        if plan:
            where, _ = bench.built(name, config, reuse=True)
            for k, points in points_of(bench.searched(name, where, config, plan)).items():
                again[k] += points
    return {
        "version": installed(name),
        "date": datetime.date.today().isoformat(),
        "cpu": machine()["cpu"],
        "queries": bench.n_queries,
        "builds": tried,
        "points": {
            str(k): [
                {
                    "config": point.config,
                    "mode": point.mode,
                    "us": round(point.microseconds, 1),
                    "recall": round(point.recall, 4),
                }
                for point in pareto(again[k])
            ]
            for k in ks
        },
    }


def read_tuned(path: Path = TUNED) -> dict[str, Any]:
    """Set -> engine -> what `tune` found."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def tuned_points(tuned: dict[str, Any], set_name: str, name: str, k: int) -> list[Point]:
    """The points kept for a set, an engine and a k; none where they were not tuned."""
    kept = tuned.get(set_name, {}).get(name, {}).get("points", {}).get(str(k), [])
    return [Point(p["config"], p["mode"], p["us"], p["recall"]) for p in kept]


def main() -> None:
    """Tune what the command line asks for; merge into the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--sets", default="t200s", help="comma-separated")
    add("--engines", default="seismic,kannolo,sindi", help="comma-separated")
    add("--k", default="10,1000", help="comma-separated")
    add("--builds", type=int, default=99, help="at most so many builds of an engine")
    add("--queries", type=int, default=300)
    add("--data", type=Path, default=default_data(), help="folder of sets and cache")
    add("--out", type=Path, default=TUNED)
    asked = parser.parse_args()
    asked.data.mkdir(parents=True, exist_ok=True)
    for set_name in asked.sets.split(","):
        bench = Bench.of(set_name, asked.data, asked.queries)
        for name in asked.engines.split(","):
            if installed(name) is None:
                sys.exit(f"{name}: not installed; pip install {ENGINES[name].package}")
            result = tune(bench, name, [int(k) for k in asked.k.split(",")], asked.builds)
            tuned = read_tuned(asked.out)  # again, as another tuning may have written meanwhile
            tuned.setdefault(set_name, {})[name] = result
            asked.out.write_text(json.dumps(tuned, indent=1) + "\n")


if __name__ == "__main__":
    main()
