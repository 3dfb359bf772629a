"""The cost model of service/SCALING.md: from measured constants to a billion documents."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZES = (10**6, 10**7, 10**8, 10**9)
LATENCY = {50_000: 49, 100_000: 59, 200_000: 77, 400_000: 100, 1_000_000: 170, 4_000_000: 466}
"""CPU microseconds of an exact top 10 by documents (README.md here), scaled by the measured."""
EXPONENT = 0.73
"""ln(466 / 170) / ln 4, the slope of the last two: beyond them it is an extrapolation."""
MACHINE_GIB = 64
MACHINE_CORES = 16
FOR_INDEX = 0.7
"""The share of a machine's memory that may hold what searches touch."""
SHARD_DOCUMENTS = 20_000_000
"""A choice: such a shard is built in hours, and is moved or replaced in minutes."""


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


def query_us(n_docs: float) -> float:
    """CPU of one search of an index of this size; a straight line in logarithms beyond 4 million.

    >>> round(query_us(1_000_000)), round(query_us(8_000_000) / query_us(4_000_000), 2)
    (170, 1.66)
    """
    sizes = sorted(LATENCY)
    if n_docs >= sizes[-1]:
        return LATENCY[sizes[-1]] * float(n_docs / sizes[-1]) ** EXPONENT
    if n_docs <= sizes[0]:
        return LATENCY[sizes[0]]
    at = next(i for i, size in enumerate(sizes) if size >= n_docs)
    low, high = sizes[at - 1], sizes[at]
    share = (n_docs - low) / (high - low)
    return LATENCY[low] * (1 - share) + LATENCY[high] * share


def cost(n_docs: int, facts: Mapping[str, Any]) -> Cost:
    """Of `n_docs` documents like the measured ones: the fewest machines whose memory holds them."""
    disk = n_docs * (facts["segment_bytes"] + facts["catalog_bytes"])
    memory = n_docs * facts["search_bytes"]
    machines = max(1, -(-int(memory) // int(MACHINE_GIB * 2**30 * FOR_INDEX)))
    shards = max(machines, -(-n_docs // SHARD_DOCUMENTS))
    measured = facts["shards_2"]["one_us"] / query_us(facts["documents"])
    query = shards * query_us(n_docs / shards) * measured / 1000
    return Cost(
        n_docs,
        shards,
        machines,
        disk,
        memory,
        n_docs * facts["build_cpu_us"] / 3.6e9,
        query,
        machines * MACHINE_CORES * 1000 / query,
        shards * facts["shards_2"]["reply_bytes"],
    )


def table(facts: Mapping[str, Any]) -> str:
    """The costs of all sizes as Markdown."""
    names = ("documents", "shards", "machines", "disk", "memory", "core-hours to build")
    costs = ("core-ms a query", "queries/s", "network a query")
    lines = [
        f"| {' | '.join((*names, *costs))} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for n_docs in SIZES:
        one = cost(n_docs, facts)
        lines.append(
            f"| {n_docs:,} | {one.n_shards} | {one.n_machines} | {one.disk_bytes / 2**30:,.0f} GiB "
            f"| {one.memory_bytes / 2**30:,.1f} GiB | {one.build_hours:,.1f} "
            f"| {one.query_core_ms:,.2f} | {one.queries_per_s:,.0f} "
            f"| {one.reply_bytes / 1000:,.0f} kB |"
        )
    return "\n".join(lines)


def draw(facts: Mapping[str, Any], path: Path) -> None:
    """Core-milliseconds a query and searched memory against documents, PATH.svg."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lsr"
    import matplotlib.pyplot as plt

    sizes = [int(10 ** (5.7 + step / 10)) for step in range(34)]
    costs = [cost(size, facts) for size in sizes]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    left.loglog(sizes, [one.query_core_ms for one in costs], color="#0072B2")
    left.axvspan(4e6, sizes[-1], color="#eeeeee", zorder=0)
    left.text(5e6, min(one.query_core_ms for one in costs), "extrapolated", fontsize=8)
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
