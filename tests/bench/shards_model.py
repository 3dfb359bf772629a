"""The cost model of service/SCALING.md: from measured constants to a billion documents.

    python tests/bench/shards_model.py service/scaling.json --plot service/scaling

prints the page's table and constants from the runs that shards_bench.py kept in that file.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZES = (10**6, 10**7, 10**8, 10**9)
MACHINE_GIB = 64
MACHINE_CORES = 16
FOR_INDEX = 0.7
"""The share of a machine's memory that may hold what searches touch."""
SHARD_DOCUMENTS = 20_000_000
"""A choice: such a shard is built in hours, and is moved or replaced in minutes."""


@dataclass(frozen=True)
class Constants:
    """What was measured: sizes and times of a document in the largest run, core-microseconds of an
    exact top 10 by documents in all, bytes of a shard's question and reply. Beyond the last point
    times grow with documents to the power `beyond`.
    """

    documents: int
    segment_bytes: float
    search_bytes: float
    catalog_bytes: float
    build_cpu_us: float
    reply_bytes: float
    search_us: Mapping[int, float]
    encoded_docs_per_cpu_s: Mapping[str, float]
    beyond: float

    @classmethod
    def of(cls, runs: Sequence[Mapping[str, Any]]) -> "Constants":
        """From the runs of the bench; of a size that two have measured, the larger one counts.

        A largest run may say `beyond` where it has no second point near it; else that is the slope
        of the last two.
        """
        ordered = sorted(runs, key=lambda run: int(run["documents"]))
        largest = ordered[-1]
        points = {int(n): us for run in ordered for n, us in run["search_us"].items()}
        replies = [run["shards_2"]["reply_bytes"] for run in ordered if "shards_2" in run]
        rates = [run["encoded_docs_per_cpu_s"] for run in ordered if run["encoded_docs_per_cpu_s"]]
        return cls(
            int(largest["documents"]),
            largest["segment_bytes"],
            largest["search_bytes"],
            largest["catalog_bytes"],
            largest["build_cpu_us"],
            replies[-1],
            points,
            rates[-1],
            largest.get("beyond") or slope(points, *sorted(points)[-2:]),
        )

    def query_us(self, n_docs: float) -> float:
        """Core-microseconds of one search of an index of this size: between two measured sizes a
        straight line in logarithms; below the first, what that takes.

        >>> measured = Constants(4, 1, 1, 1, 1, 1, {100: 10.0, 10_000: 100.0}, {}, 0.75)
        >>> [round(measured.query_us(n)) for n in (1, 100, 1_000, 10_000, 100_000_000)]
        [10, 10, 32, 100, 100000]
        """
        sizes = sorted(self.search_us)
        if n_docs >= sizes[-1]:
            return float(self.search_us[sizes[-1]] * (n_docs / sizes[-1]) ** self.beyond)
        if n_docs <= sizes[0]:
            return self.search_us[sizes[0]]
        at = next(i for i, size in enumerate(sizes) if size >= n_docs)
        low, high = sizes[at - 1], sizes[at]
        return float(self.search_us[low] * (n_docs / low) ** slope(self.search_us, low, high))


def slope(points: Mapping[int, float], low: int, high: int) -> float:
    """Of the line between two points, in logarithms.

    >>> round(slope({100: 10.0, 10_000: 100.0}, 100, 10_000), 3)
    0.5
    """
    return math.log(points[high] / points[low]) / math.log(high / low)


@dataclass(frozen=True)
class Cost:
    """What so many documents cost; times in core-hours and core-milliseconds."""

    n_docs: int
    n_shards: int
    n_machines: int
    disk_bytes: float
    memory_bytes: float
    build_hours: float
    query_core_ms: float
    queries_per_s: float
    reply_bytes: float


def cost(n_docs: int, constants: Constants) -> Cost:
    """Of `n_docs` documents like the measured ones: the fewest machines whose memory holds them."""
    disk = n_docs * (constants.segment_bytes + constants.catalog_bytes)
    memory = n_docs * constants.search_bytes
    machines = max(1, math.ceil(memory / (MACHINE_GIB * 2**30 * FOR_INDEX)))
    shards = max(machines, math.ceil(n_docs / SHARD_DOCUMENTS))
    query = shards * constants.query_us(n_docs / shards) / 1000
    return Cost(
        n_docs,
        shards,
        machines,
        disk,
        memory,
        n_docs * constants.build_cpu_us / 3.6e9,
        query,
        machines * MACHINE_CORES * 1000 / query,
        shards * constants.reply_bytes,
    )


def told(constants: Constants) -> str:
    """The costs of all sizes and the constants that they follow from, as Markdown."""
    names = ("documents", "shards", "machines", "disk", "memory", "core-hours to build")
    costs = ("core-ms a query", "queries/s", "network a query")
    lines = [
        f"| {' | '.join((*names, *costs))} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for n_docs in SIZES:
        one = cost(n_docs, constants)
        lines.append(
            f"| {n_docs:,} | {one.n_shards} | {one.n_machines} | {one.disk_bytes / 2**30:,.0f} GiB "
            f"| {one.memory_bytes / 2**30:,.1f} GiB | {one.build_hours:,.1f} "
            f"| {one.query_core_ms:,.2f} | {one.queries_per_s:,.0f} "
            f"| {one.reply_bytes / 1000:,.0f} kB |"
        )
    sizes = (constants.segment_bytes, constants.search_bytes, constants.catalog_bytes)
    points = ", ".join(f"{us:,.0f} at {n:,}" for n, us in sorted(constants.search_us.items()))
    hours = ", ".join(
        f"{name} {1e9 / rate / 3600:,.0f} ({rate:,.0f} a second)"
        for name, rate in constants.encoded_docs_per_cpu_s.items()
    )
    told_sizes = ", ".join(f"{size:,.0f}" for size in sizes)
    facts = {
        f"segment, searched part, catalog, at {constants.documents:,} documents": (
            f"{told_sizes} bytes a document"
        ),
        "build without encoding and ordering": f"{constants.build_cpu_us:,.0f} core-us a document",
        "exact top 10, core-us": f"{points} documents",
        "beyond": f"documents to the power {constants.beyond:.2f}",
        "question and reply of a shard": f"{constants.reply_bytes:,.0f} bytes",
        "encoding a billion, core-hours": hours,
    }
    lines += ["", "| constant | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(lines)


def draw(constants: Constants, path: Path) -> None:
    """Core-milliseconds a query and searched memory against documents, PATH.svg."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lsr"
    import matplotlib.pyplot as plt

    sizes = [int(10 ** (5.7 + step / 10)) for step in range(34)]
    costs = [cost(size, constants) for size in sizes]
    last = max(constants.search_us)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    left.loglog(sizes, [one.query_core_ms for one in costs], color="#0072B2")
    left.axvspan(last, sizes[-1], color="#eeeeee", zorder=0)
    left.text(last * 1.2, min(one.query_core_ms for one in costs), "extrapolated", fontsize=8)
    left.set(xlabel="documents", ylabel="core-milliseconds a query, all shards")
    right.loglog(sizes, [one.disk_bytes / 2**30 for one in costs], color="#000000", label="disk")
    right.loglog(
        sizes, [one.memory_bytes / 2**30 for one in costs], color="#D55E00", label="searched memory"
    )
    right.set(xlabel="documents", ylabel="GiB")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def main() -> None:
    """Print what the page shows of the kept runs, and draw it."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("runs", type=Path)
    reader.add_argument("--plot", type=Path, help="write PATH.svg")
    asked = reader.parse_args()
    constants = Constants.of(json.loads(asked.runs.read_text())["runs"])
    print(told(constants))
    if asked.plot:
        draw(constants, asked.plot)


if __name__ == "__main__":
    sys.exit(main())
