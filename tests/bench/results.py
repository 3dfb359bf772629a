"""The rows of a set's report: one engine, one build, one search setting, one k."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from arithmetic import RECALL_SLACK, Point, fastest_reaching
from engines import ENGINES

Report = dict[str, Any]
RECALLS = {10: (0.95, 0.97, 0.985, 0.995), 1000: (0.95, 0.97, 0.985)}
"""What approximate points are quoted for; at other k those of 10."""


@dataclass(frozen=True, eq=False)
class Row:
    """`times` are microseconds, one a query; `build` and `search` the figures of the phases."""

    engine: str
    version: str
    config: dict[str, Any]
    mode: str
    k: int
    times: list[float]
    recall: float
    build: dict[str, Any]
    search: dict[str, Any]

    @property
    def mean(self) -> float:
        """Mean microseconds a query."""
        return float(np.mean(self.times))

    @property
    def label(self) -> str:
        """Engine, version, build and setting on one line."""
        build = "/".join(f"{value}" for value in self.config.values())
        return " ".join(x for x in (self.engine, self.version, build, self.mode) if x)


def rows(report: Report) -> list[Row]:
    """Everything measured."""
    out = []
    for engine, result in report["engines"].items():
        for built in result.get("builds", ()):
            for key, times in built["search"]["timings"].items():
                k, mode = key.split("|")
                recall = built["search"]["overlap"][key]
                row = Row(
                    engine=engine,
                    version=result["version"],
                    config=built["config"],
                    mode=mode,
                    k=int(k),
                    times=times,
                    recall=recall,
                    build=built["build"],
                    search=built["search"],
                )
                out.append(row)
    return out


def fastest(found: list[Row], engine: str, k: int, recall: float) -> Row | None:
    """The engine's fastest row of at least this recall, or hardly less; None without one."""
    own = _of(found, engine, k)
    points = [Point(row.config, row.mode, row.mean, row.recall) for row in own]
    point = fastest_reaching(points, recall - RECALL_SLACK)
    return None if point is None else own[points.index(point)]


def quoted(found: list[Row], engine: str, k: int) -> list[Row]:
    """The rows to print: all of an exact engine, those reaching each recall of an approximate."""
    own = _of(found, engine, k)
    if not ENGINES[engine].approximate or not own:
        return own
    chosen = [fastest(found, engine, k, recall) for recall in RECALLS.get(k, RECALLS[10])]
    chosen.append(max(own, key=lambda row: row.recall) if chosen[0] is None else None)
    return list({id(row): row for row in chosen if row is not None}.values())


def _of(found: list[Row], engine: str, k: int) -> list[Row]:
    return [row for row in found if row.engine == engine and row.k == k]
