"""`make bench`: exact search, indexing and memory of our engine beside others, on the same vectors.

Every engine builds in one process and searches in another (`worker.py`); it searches with one
thread, one query at a time. Progress goes to stderr, the tables to stdout.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engines import ENGINES, installed, one_thread
from report import NOTES, draw, table

HERE = Path(__file__).resolve().parent
TEXT_ENGINES = ["lsr", "lsr-index", "scipy", "bm25s"]
VECTOR_ENGINES = [name for name in ENGINES if name != "bm25s"]


def phase(task: dict[str, Any], env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run one task of `worker.py` in a new process and read its answer."""
    command = [sys.executable, str(HERE / "worker.py"), json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        label = " ".join(str(task[key]) for key in ("phase", "engine", "set") if key in task)
        sys.exit(f"{label}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads((Path(task["work"]) / "answer.json").read_text())
    return answer


def machine() -> dict[str, Any]:
    """Where and with what this ran."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "commit": commit or "unknown",
    }


def measure(set_name: str, engines: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """All phases of all engines on one set."""
    with tempfile.TemporaryDirectory(dir=options.data) as scratch:
        base = {"folder": str(options.data), "work": scratch, "set": set_name}
        about = phase(base | {"phase": "make"})
        n = min(options.queries, about["n_queries"])
        ks = [k for k in options.k if k < about["n_docs"]]
        base |= {"folder": str(options.data / set_name), "queries": n, "k": ks}
        results: dict[str, Any] = {}
        for name in engines:
            found = installed(name)
            if found is None:
                results[name] = {"missing": ENGINES[name].package}
                continue
            print(f"{set_name}: {name} {found}", file=sys.stderr, flush=True)
            task = base | {"engine": name}
            built = phase(task | {"phase": "build"})
            searched = phase(task | {"phase": "search"}, one_thread())
            results[name] = {"version": found, "build": built, "search": searched}
        for name, overlap in phase(base | {"phase": "judge"}).items():
            results[name]["overlap"] = overlap
    return {"set": set_name, "about": about, "queries": n, "k": ks, "engines": results}


def options() -> argparse.Namespace:
    """The command line."""
    cache = Path(os.environ.get("LSR_CACHE", Path.home() / ".cache" / "lsr")) / "bench"
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--set", default="t200s", choices=["t200s", "small"], help="vectors (default t200s)")
    add("--text", default="python-docs", help="data set of the BM25 table, or none")
    add("--engines", help="comma-separated (default: all of " + ", ".join(ENGINES) + ")")
    add("--queries", type=int, default=300, help="how many (default 300)")
    add("--k", default="10,1000", help="comma-separated (default 10,1000)")
    add("--data", type=Path, default=cache, help="folder that keeps the sets (default %(default)s)")
    add("--json", type=Path, help="write every figure here")
    add("--plot", type=Path, help="draw the distribution of latencies here (needs matplotlib)")
    chosen = parser.parse_args()
    chosen.k = [int(k) for k in chosen.k.split(",")]
    chosen.engines = chosen.engines.split(",") if chosen.engines else list(ENGINES)
    if unknown := set(chosen.engines) - set(ENGINES):
        parser.error(f"unknown engine {', '.join(unknown)}; known: {', '.join(ENGINES)}")
    chosen.data.mkdir(parents=True, exist_ok=True)
    return chosen


def main() -> None:
    """Run, print, and write JSON and drawing where asked."""
    chosen, where = options(), machine()
    ram = f"{where['ram_bytes'] / 2**30:.0f} GiB"
    print(f"machine    {where['cpu']}, {where['cores']} cores, {ram}, {where['system']}")
    print(f"software   commit {where['commit']}, Python {where['python']}, numpy {where['numpy']}")
    print(f"load       {where['load']:.1f} jobs running when this began")
    plans = [(chosen.set, VECTOR_ENGINES)]
    if chosen.text != "none":
        plans.append((f"bm25-{chosen.text}", TEXT_ENGINES))
    reports = []
    for set_name, engines in plans:
        reports.append(measure(set_name, [x for x in engines if x in chosen.engines], chosen))
        print(f"\n{table(reports[-1])}", flush=True)
    print(f"\n{NOTES}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": where, "reports": reports}))
    if chosen.plot:
        draw(where, reports[0], chosen.plot)


if __name__ == "__main__":
    main()
