"""What a sweep found: the fronts, the cheapest good configurations, tables and files."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from ..files import atomic_write
from ..pareto import cheapest_within, front
from . import _printing as out
from ._markdown import markdown_table
from ._sweep import Point


@dataclass(frozen=True)
class Cost:
    """A cost that a front is drawn over: its field of `Point`, its name, and its unit in words."""

    field: str
    name: str
    unit: str

    def of(self, point: Point) -> float:
        """What the point costs."""
        return float(getattr(point, self.field))

    def words(self, point: Point) -> str:
        """What the point costs, with its unit."""
        if self.field == "search_bytes":
            return out.size(point.search_bytes)
        return f"{self.of(point):.2f}" if self.field == "flops" else f"{self.of(point):,.0f} us"


COSTS = (
    Cost("flops", "FLOPS", "FLOPS: multiply-adds of an average query and document"),
    Cost("search_bytes", "bytes", "index, megabytes that searches read"),
    Cost("latency_p50_us", "latency", "CPU microseconds a query, encoding included, median"),
)
WITHIN = 0.01
"""How far below the best nDCG@10 a cheap configuration may be: a hundredth of it."""


@dataclass(frozen=True)
class Findings:
    """The points of a sweep, best first, and what is read off them.

    Simulated points take part in no front: their costs are not those of what they simulate.
    """

    dataset: str
    points: list[Point]
    precision: str = "float32"
    """What networks multiplied in."""

    @classmethod
    def of(cls, dataset: str, points: Sequence[Point], *, precision: str = "float32") -> "Findings":
        """Order them by nDCG@10; of equals the one with the fewest options comes first."""

        def order(one: Point) -> tuple[float, float, int, str]:
            n_options = len(one.build_options) + len(one.search_options)
            return -one.ndcg_10, one.flops, n_options, one.name

        return cls(dataset, sorted(points, key=order), precision)

    @property
    def real(self) -> list[Point]:
        """What can be built."""
        return [one for one in self.points if not one.simulated]

    def front(self, cost: Cost, encoder: str | None = None) -> list[Point]:
        """What nothing dominates, cheapest first; among all encoders, or of one."""
        real = [one for one in self.real if encoder in (None, one.encoder)]
        kept = front([cost.of(one) for one in real], [one.ndcg_10 for one in real])
        return [real[i] for i in kept]

    def cheapest(self, cost: Cost) -> Point | None:
        """The cheapest within `WITHIN` of the best; None where nothing finds anything."""
        real = self.real
        costs, values = [cost.of(one) for one in real], [one.ndcg_10 for one in real]
        at = cheapest_within(costs, values, share=WITHIN)
        return None if at is None else real[at]

    def encoders(self) -> list[str]:
        """Encoders, the best first."""
        return list(dict.fromkeys(one.encoder for one in self.points))

    def commands(self, point: Point) -> list[str]:
        """How to build and search a configuration; nothing where it is simulated."""
        if point.simulated:
            return []
        name = f"{Path(self.dataset).name}.index"
        encoder = ["--encoder", point.encoder]
        if point.encoder != "bm25" and self.precision != "float32":
            encoder += ["--precision", self.precision]
        build = ["lsr", "index", self.dataset, name, *encoder, *point.build_options]
        search = ["lsr", "search", name, "your question", *point.search_options]
        return [shlex.join(build), shlex.join(search)]

    def marks(self, point: Point) -> str:
        """The costs on whose front it lies."""
        return " ".join(cost.name for cost in COSTS if id(point) in self._on_fronts[cost.field])

    @cached_property
    def _on_fronts(self) -> dict[str, set[int]]:
        """Found once: a full grid has thousands of points."""
        return {cost.field: {id(point) for point in self.front(cost)} for cost in COSTS}


def table(points: Sequence[Point]) -> tuple[list[str], list[list[str]]]:
    """Header and cells, for people."""
    header = ["configuration", "nDCG@10", "R@100", "FLOPS", "bytes", "p50 us", "p99 us"]
    header += ["encode us", "build s", "terms/doc", "terms/query"]
    return header, [
        [
            point.name,
            f"{point.ndcg_10:.4f}",
            f"{point.r_100:.4f}",
            f"{point.flops:.2f}",
            out.size(point.search_bytes),
            f"{point.latency_p50_us:,.0f}",
            f"{point.latency_p99_us:,.0f}",
            f"{point.encode_p50_us:,.0f}",
            f"{point.build_s:.2f}",
            f"{point.terms_per_document:.1f}",
            f"{point.terms_per_query:.1f}",
        ]
        for point in points
    ]


def facts(frame: dict[str, Any]) -> list[tuple[str, str]]:
    """What the figures hold for."""
    queries = out.counted(frame["n_queries"], "query")
    lines = [("dataset", f"{frame['dataset']} {frame['split']}, {queries}, top {frame['k']} each")]
    measured = out.counted(frame["n_points"], "configuration")
    resumed = f", {frame['n_resumed']:,} found in the folder" if frame["n_resumed"] else ""
    alike = f"; {frame['n_alike']:,} more would leave nothing out" if frame["n_alike"] else ""
    lines.append(("measured", measured + resumed + alike))
    lines.append(("machine", f"{frame['machine']}, one thread, lsr-search {frame['version']}"))
    if frame["split"] != "dev":
        why = "a choice made on the queries that it is reported on flatters it"
        lines.append(("caution", f"chosen on {frame['split']}: {why}; have a dev split if you can"))
    if frame["n_simulated"]:
        n = out.counted(frame["n_simulated"], "configuration")
        why = "real quality at the bytes of 8 bits; no front counts them"
        lines.append(("simulated", f"{n} of 2 and 4 bits: {why}"))
    return lines


def as_report(findings: Findings, frame: dict[str, Any]) -> dict[str, Any]:
    """All of it, ready for JSON; points are named by their place in `points`."""
    place = {id(point): i for i, point in enumerate(findings.points)}
    chosen: dict[str, Any] = {}
    for cost in COSTS:
        point = findings.cheapest(cost)
        if point is not None:
            chosen[cost.field] = {"point": place[id(point)], "commands": findings.commands(point)}
    fronts = {cost.field: [place[id(p)] for p in findings.front(cost)] for cost in COSTS}
    points = [
        {**vars_of(point), "name": point.name, "commands": findings.commands(point)}
        for point in findings.points
    ]
    return {**frame, "within": WITHIN, "cheapest": chosen, "fronts": fronts, "points": points}


def vars_of(point: Point) -> dict[str, Any]:
    """The fields of a point by name."""
    return {name: getattr(point, name) for name in Point.__dataclass_fields__}


def write_tables(folder: Path, findings: Findings, frame: dict[str, Any]) -> None:
    """sweep.json, sweep.tsv (full precision) and sweep.md; every file whole or not there."""
    report = as_report(findings, frame)
    header, cells = table(findings.points)
    lines = ["# lsr sweep", "", *(f"- {verb}: {what}" for verb, what in facts(frame)), ""]
    lines += [f"- command: `{frame['command']}`", ""]
    for cost in COSTS:
        point = findings.cheapest(cost)
        if point is not None:
            lines.append(
                f"- cheapest in {cost.name} within {100 * WITHIN:g} % of the best: {point.name}, "
                f"{cost.words(point)}, nDCG@10 {point.ndcg_10:.4f}"
            )
            lines += [f"  - `{command}`" for command in findings.commands(point)]
    lines += ["", "![trade-off](trade-off.svg)", ""]
    marked = [[*row, findings.marks(p)] for p, row in zip(findings.points, cells, strict=True)]
    lines += [markdown_table([*header, "front of"], marked, text=1)]
    names = [n for n in Point.__dataclass_fields__ if not n.endswith("_options")]
    rows = [[str(getattr(point, name)) for name in names] for point in findings.points]
    contents = {
        "sweep.json": orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY),
        "sweep.md": "\n".join([*lines, ""]).encode(),
        "sweep.tsv": "".join("\t".join(row) + "\n" for row in [names, *rows]).encode(),
    }
    for name, content in contents.items():
        with atomic_write(folder / name) as file:
            file.write(content)
