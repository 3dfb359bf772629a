"""What issue 3 wants of the engine, and what a run says about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from arithmetic import Verdict
from results import Row, fastest, rows

Report = dict[str, Any]
SEISMIC_BEST = {"t200s": (1.9, 3), "x500s": (4, 5), "t1ms": (1.5, 3), "t200f": (6, 8)}
SEISMIC_DEEP = {"t200s": (3, 4), "x500s": (4.5, 6), "t1ms": (2.8, 4)}
SEISMIC_EQUAL = {"t200s": 3, "x500s": 3, "t1ms": 3}
BMP = {"t200s": 12, "x500s": 15, "t1ms": 12, "t200f": 12}
SIZE = {"t200s": 4, "x500s": 3, "t1ms": 2, "t200f": 4}
BUILD = {"t200s": 4, "x500s": 2, "t1ms": 2, "t200f": 4}
FILTERS = {"0.01": 2.5, "0.1": 1.7}
EXACT = "auto"
"""Our mode of exact search that is compared: what users get."""


@dataclass(frozen=True)
class Line:
    """One target: what was measured, in words, and the verdict on it."""

    set_name: str
    what: str
    measured: str
    verdict: Verdict

    def __str__(self) -> str:
        sign = "<=" if self.verdict.at_most else ">="
        wanted = " / ".join(
            "-" if x is None else f"{sign} {x:g}" for x in (self.verdict.floor, self.verdict.goal)
        )
        value = f"{self.verdict.value:.2f}"
        return (
            f"{self.set_name:<7}{self.what:<44}{value:>8}  {wanted:<16}"
            f"{self.verdict.word:<17}{self.measured}"
        )


def targets(report: Report) -> Iterator[Line]:
    """The targets that this set's report can speak about."""
    name, found = report["set"], rows(report)
    ours = {
        k: next((r for r in found if r.engine == "lsr" and r.k == k and r.mode == EXACT), None)
        for k in report["k"]
    }
    best = fastest(found, "seismic", 10, 0.985)
    for k, rival, what, wanted in (
        (10, best, "exact k=10 against Seismic >= .985", SEISMIC_BEST),
        (
            1000,
            fastest(found, "seismic", 1000, 0.97),
            "exact k=1000 against Seismic >= .97",
            SEISMIC_DEEP,
        ),
    ):
        if ours.get(k) and rival and name in wanted:
            yield _faster(name, what, ours[k], rival, *wanted[name])
    for recall in (0.95, 0.97, 0.98):
        rival, own = (fastest(found, engine, 10, recall) for engine in ("seismic", "lsr"))
        if own and rival and name in SEISMIC_EQUAL:
            what = f"recall >= {recall:g}, k=10, against Seismic"
            yield _faster(name, what, own, rival, None, SEISMIC_EQUAL[name])
    bmp = fastest(found, "bmp", 10, 0)
    if ours.get(10) and bmp and name in BMP:
        yield _faster(name, "exact k=10 against bmp, same order", ours[10], bmp, BMP[name], None)
    if best and ours.get(10) and name in SIZE:
        own = ours[10]
        measured = f"{own.build['bytes'] / 1e6:,.0f} MB against {best.build['bytes'] / 1e6:,.0f} MB"
        ratio = best.build["bytes"] / own.build["bytes"]
        yield Line(name, "disk against that Seismic", measured, Verdict(ratio, SIZE[name], None))
        if "details" in report:
            parts = report["details"]["bytes_per_posting"]
            searched = parts["search"] * report["about"]["n_postings"]
            measured = f"{searched / 1e6:,.0f} MB of search sections"
            ratio = best.build["bytes"] / searched
            yield Line(
                name, "memory against that Seismic", measured, Verdict(ratio, SIZE[name], None)
            )
        seconds = own.build["cpu_seconds"], best.build["cpu_seconds"]
        measured = f"{seconds[0]:,.1f} CPU s against {seconds[1]:,.1f}"
        verdict = Verdict(seconds[1] / seconds[0], BUILD[name], None)
        yield Line(name, "build CPU against that Seismic", measured, verdict)
    if "details" in report:
        yield from _of_ours(name, report["details"], report["about"]["n_docs"])


def _faster(
    set_name: str, what: str, own: Row, rival: Row, floor: float | None, goal: float | None
) -> Line:
    measured = (
        f"{own.mean:,.0f} us ({own.recall:.3f}) against {rival.mean:,.0f} us ({rival.recall:.3f}; "
        f"{rival.label})"
    )
    return Line(set_name, what, measured, Verdict(rival.mean / own.mean, floor, goal))


def _of_ours(name: str, found: dict[str, Any], n_docs: int) -> Iterator[Line]:
    search = found["bytes_per_posting"]["search"]
    yield Line(name, "search bytes a posting", "", Verdict(search, 4.0, 3.4, at_most=True))
    if n_docs <= 1_000_000:
        opened = found["open_seconds"] * 1000
        yield Line(name, "ms to open", "", Verdict(opened, 100, None, at_most=True))
    for k, compared in found["against_exhaustive"].items():
        share, ratio = (compared[EXACT][key] for key in ("share slower", "p99 ratio"))
        percent = Verdict(100 * share, 1, None, at_most=True)
        yield Line(name, f"% of queries > 1.1x exhaustive, k={k}", "", percent)
        measured = f"exhaustive p99 {compared['exhaustive p99 us']:,.0f} us"
        verdict = Verdict(ratio, 1.1, None, at_most=True)
        yield Line(name, f"p99 against exhaustive, k={k}", measured, verdict)
    for k, filtered in found["filters"].items():
        for share, limit in FILTERS.items():
            what = f"filter of {float(share):.0%} against none, k={k}"
            yield Line(name, what, "", Verdict(filtered[share], limit, None, at_most=True))
    for k, threads in found["threads"].items():
        measured = f"{threads['queries/s, 1 thread']:,.0f} queries/s on one"
        yield Line(name, f"2 threads, k={k}", measured, Verdict(threads["speedup of 2"], 1.7, None))
    if batch := found["batch"].get("1000"):
        measured = f"{batch['batch us']:,.0f} us against {batch['single us']:,.0f}"
        yield Line(name, "batch of 32, k=1000", measured, Verdict(batch["speedup"], 1.3, None))
