"""`make bench-engine`: our engine against the engines that lead the field, and issue 3's targets.

Every engine builds in one process and searches in another (`worker.py`); it searches with one
thread, one query at a time. Approximate engines are measured at the points that `tune.py` kept in
`tuned.json`. Progress goes to stderr, the tables to stdout.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from arithmetic import Point, fastest_reaching
from comparison import NOTES, draw, draw_scaling, table, targets_table
from engines import ENGINES, OURS, TEXT_ONLY, installed
from machine import heading, machine
from phases import Bench, PhaseFailed, default_data, label, run_phase
from protocol import Config
from results import RECALLS
from scaling import scaling, scaling_table
from tune import read_tuned, tuned_points
from vectors import RECIPES

SLOW = ("scipy", "scipy-product", "lsr-index", "impact-index")
"""Left out unless asked for by name: `make bench` shows them, or they cost minutes and lose."""
Plan = dict[str, tuple[Config, list[tuple[int, str]]]]


def planned(name: str, bench: Bench, ks: list[int], *, curves: bool) -> Plan:
    """Which (k, mode) to search on which build of an engine, by the label of the build.

    Where nothing is tuned: all modes on the first build.
    """
    plan: Plan = {}
    tuned = read_tuned() if ENGINES[name].approximate else {}
    for k in ks:
        offered = set(bench.modes(name, [k]))
        kept = tuned_points(tuned, bench.set_name, name, k)
        points = [point for point in kept if (k, point.mode) in offered]
        if len(points) < len(kept):
            stale = f"{len(kept) - len(points)} of {len(kept)} tuned points are not in its grid now"
            print(f"{bench.set_name}: {name}, k={k}: {stale}; run tune.py", file=sys.stderr)
        if not points:
            config = ENGINES[name]().configurations(bench.set_name)[0]
            points = [Point(config, mode, 0, 0) for _, mode in bench.modes(name, [k])]
        elif not curves:
            wanted = RECALLS.get(k, RECALLS[10])
            best = max(points, key=lambda point: point.recall)
            points = [fastest_reaching(points, recall) or best for recall in wanted]
        for point in points:
            _, modes = plan.setdefault(label(point.config), (point.config, []))
            if (k, point.mode) not in modes:
                modes.append((k, point.mode))
    return plan


def measured(name: str, bench: Bench, asked: argparse.Namespace) -> dict[str, Any]:
    """An engine's builds and searches on a set."""
    found = installed(name)
    if found is None:
        return {"missing": f"not installed; pip install {ENGINES[name].package}"}
    builds = []
    reuse = asked.from_cache and name not in OURS
    try:
        for config, plan in planned(name, bench, asked.k, curves=asked.curves).values():
            print(f"{bench.set_name}: {name} {found} {label(config)}", file=sys.stderr, flush=True)
            where, built = bench.built(name, config, reuse=reuse)
            searched = bench.searched(name, where, config, plan)
            builds.append({"config": config, "build": built, "search": searched})
    except PhaseFailed as failed:
        print(failed, file=sys.stderr, flush=True)
        return {"missing": str(failed).splitlines()[0], "version": found, "builds": builds}
    return {"version": found, "builds": builds}


def report_on(bench: Bench, asked: argparse.Namespace) -> dict[str, Any]:
    """All engines on one set; ours first, because its order of documents serves others."""
    engines = {name: measured(name, bench, asked) for name in asked.engines}
    report = {"set": bench.set_name, "about": bench.about, "queries": bench.n_queries}
    report |= {"k": asked.k, "engines": engines}
    if asked.details and "lsr" in engines:
        where, ordered = bench.built("lsr", {}, reuse=True)
        task = {"phase": "details", "folder": bench.folder, "where": where, "ks": asked.k}
        report["details"] = run_phase(task | {"n_queries": bench.n_queries})
        _, plain = bench.built("lsr", {"reorder": False}, reuse=False)
        report["details"] |= {"ordered_build": ordered, "unordered_build": plain}
    return report


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    usual = [name for name in ENGINES if name not in (*SLOW, *TEXT_ONLY)]
    add = parser.add_argument
    add("--sets", default="t200s,x500s,t1ms,t200f", help="comma-separated; also small, topic-N")
    add("--engines", default=",".join(usual), help="comma-separated (default %(default)s)")
    add("--k", default="10,1000", help="comma-separated (default 10,1000)")
    add("--queries", type=int, default=300, help="how many (default 300)")
    add("--data", type=Path, default=default_data(), help="folder of sets and cache")
    add("--from-cache", action="store_true", help="reuse the rivals' indexes; ours is rebuilt")
    add("--curves", action="store_true", help="all points of tuned.json, not only the chosen ones")
    add("--no-details", dest="details", action="store_false", help="only the comparison")
    add("--scaling", help="numbers of documents; measures ours on topic-N and nothing else")
    add("--json", type=Path, help="write every figure here")
    add("--plot", type=Path, help="draw recall against time (PNG and SVG; needs matplotlib)")
    asked = parser.parse_args()
    asked.k = [int(k) for k in asked.k.split(",")]
    asked.sets, asked.engines = asked.sets.split(","), asked.engines.split(",")
    if unknown := set(asked.engines) - set(ENGINES) | set(asked.engines) & set(TEXT_ONLY):
        parser.error(f"no driver for {', '.join(unknown)}; known: {', '.join(usual + [*SLOW])}")
    for name in asked.sets:
        drawn = name in (*RECIPES, "small") or name.startswith("topic-")
        if not drawn and not (asked.data / name / "set.json").exists():
            known = f"{', '.join(RECIPES)}, small, topic-N and what lies in {asked.data}"
            parser.error(f"no set {name!r}; known: {known} (vectors.py makes sets of indexes)")
    asked.engines.sort(key=lambda name: name not in OURS)
    asked.data.mkdir(parents=True, exist_ok=True)
    return asked


def main() -> None:
    """Run, print, and write JSON and drawings where asked."""
    asked, where = options(), machine()
    print(heading(where), flush=True)
    paths = [asked.plot.with_suffix(suffix) for suffix in (".png", ".svg")] if asked.plot else []
    if asked.scaling:
        sizes = [int(size) for size in asked.scaling.split(",")]
        rows = scaling(sizes, asked.data, asked.k, asked.queries)
        print(f"\n{scaling_table(rows, asked.k)}")
        if paths:
            draw_scaling(where, rows, asked.k, paths)
        written: dict[str, Any] = {"machine": where, "scaling": rows}
    else:
        reports = []
        for set_name in asked.sets:
            reports.append(report_on(Bench.of(set_name, asked.data, asked.queries), asked))
            print(f"\n{table(reports[-1])}", flush=True)
        print(f"\n{targets_table(reports)}\n\n{NOTES}")
        if paths:
            draw(where, reports, paths)
        written = {"machine": where, "reports": reports}
    if asked.json:
        asked.json.write_text(json.dumps(written))


if __name__ == "__main__":
    main()
