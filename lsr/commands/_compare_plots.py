"""The plots of `lsr compare`: deltas with intervals, query by query, one system over the other."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..measures import printed_name
from ._comparison import Compared, Mean, Row
from ._drawing import LINES, saved

_BETTER, _WORSE = LINES[0], LINES[1]


def draw_all(
    folder: Path,
    collections: Sequence[Compared],
    rows: Sequence[Row],
    means: Sequence[Mean],
    measure: str,
) -> list[Path]:
    """Write every plot of the first measure, PNG and SVG; the files. Raises `MissingExtra`."""
    baseline, *systems = collections[0].values
    shown = [row for row in rows if row.measure == measure]
    averages = [mean for mean in means if mean.measure == measure]
    n_lines = len(shown) + len(averages)
    written = saved(
        folder / "forest",
        lambda axes: _forest(axes, shown, averages, baseline, systems, measure),
        width=8.4,
        height=1.9 + 0.34 * n_lines,
    )
    for one in collections:
        for system in systems:
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{one.judged.short}-{system}")

            def bars(axes: Any, one: Compared = one, system: str = system) -> None:
                _bars(axes, one, baseline, system, measure)

            def scatter(axes: Any, one: Compared = one, system: str = system) -> None:
                _scatter(axes, one, baseline, system, measure)

            written += saved(folder / f"deltas-{name}", bars)
            written += saved(folder / f"scatter-{name}", scatter, width=5.2, height=5.2)
    return written


def _forest(
    axes: Any,
    rows: Sequence[Row],
    means: Sequence[Mean],
    baseline: str,
    systems: Sequence[str],
    measure: str,
) -> None:
    """Mean deltas with their intervals, a line for each collection and system."""
    colours = {name: LINES[i % len(LINES)] for i, name in enumerate(systems)}
    lines: list[tuple[str, str, float, float, float, str, bool]] = []
    for row in rows:
        one = row.paired
        p = "p < .001" if row.holm_randomisation < 0.001 else f"p = {row.holm_randomisation:.3f}"
        label = f"{_signed(one.delta)}, {p}"
        lines.append((row.dataset, row.system, one.delta, one.low, one.high, label, False))
    for mean in means:
        label = f"{_signed(mean.delta)}, {mean.wins} of {mean.wins + mean.ties + mean.losses} won"
        name = f"mean of {mean.n_collections}"
        lines.append((name, mean.system, mean.delta, mean.low, mean.high, label, True))
    axes.axvline(0, color="#000000", linewidth=0.8)
    for i, (_, system, delta, low, high, label, is_mean) in enumerate(lines):
        colour, y = colours[system], -i
        axes.plot([low, high], [y, y], color=colour, linewidth=3.0 if is_mean else 1.6)
        axes.plot([delta], [y], "D" if is_mean else "o", color=colour, markersize=6)
        axes.annotate(
            label,
            (1.02, y),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=colour,
            annotation_clip=False,
        )
    names = [name if len(systems) == 1 else f"{name}, {system}" for name, system, *_ in lines]
    axes.set_yticks(-np.arange(len(lines)), names)
    axes.set_ylim(-len(lines) + 0.4, 0.6)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    who = systems[0] if len(systems) == 1 else "each system"
    axes.set_title(f"{printed_name(measure)}: {who} minus {baseline}")
    axes.set_xlabel("mean difference, 95 % paired bootstrap interval; p corrected (Holm)")


def _bars(axes: Any, one: Compared, baseline: str, system: str, measure: str) -> None:
    """Every query's delta, sorted, best first."""
    deltas = np.array(list(one.deltas(measure, baseline, system).values()))[::-1]
    places = np.arange(len(deltas))
    colours = np.where(deltas > 0, _BETTER, _WORSE)
    axes.bar(places, deltas, width=1.0, color=colours.tolist(), linewidth=0)
    axes.axhline(0, color="#000000", linewidth=0.8)
    axes.axhline(float(deltas.mean()), color="#000000", linewidth=0.8, linestyle=":")
    wins, losses = int((deltas > 0).sum()), int((deltas < 0).sum())
    ties = len(deltas) - wins - losses
    limit = max(0.05, float(np.abs(deltas).max())) * 1.15
    axes.set_ylim(-limit, limit)
    axes.set_xlim(-0.5, len(deltas) - 0.5)
    texts: list[tuple[float, float, str, Any]] = [
        (0.01, 1.0, f"{wins} better", {"ha": "left", "va": "top", "color": _BETTER}),
        (0.99, 0.01, f"{losses} worse", {"ha": "right", "va": "bottom", "color": _WORSE}),
        (
            1.0,
            1.0,
            f"{ties} alike, mean {_signed(deltas.mean())} (dotted)",
            {"ha": "right", "va": "top"},
        ),
    ]
    for x, y, text, how in texts:
        axes.text(x, y, text, transform=axes.transAxes, **how)
    axes.grid(visible=False, axis="x")
    axes.set_title(f"{one.judged.short}: {system} minus {baseline}")
    axes.set_xlabel("queries, best first")
    axes.set_ylabel(f"difference in {measure}")


def _scatter(axes: Any, one: Compared, baseline: str, system: str, measure: str) -> None:
    """Every query as a point; the area of a point is the number of queries on it."""
    a, b = (one.values[name][measure] for name in (baseline, system))
    points = np.array([(a[query_id], b[query_id]) for query_id in a])
    places, counts = np.unique(points.round(3), axis=0, return_counts=True)
    above = places[:, 1] - places[:, 0]
    colours = np.where(above > 0, _BETTER, np.where(above < 0, _WORSE, "#777777"))
    largest = float(counts.max())
    axes.plot([0, 1], [0, 1], color="#000000", linewidth=0.8)
    axes.scatter(
        places[:, 0],
        places[:, 1],
        s=14 + 300 * (counts - 1) / max(20.0, largest),
        c=colours.tolist(),
        alpha=0.6,
        linewidth=0,
        clip_on=False,
        zorder=3,
    )
    n_wins, n_losses = (
        int((np.sign(points[:, 1] - points[:, 0]) == sign).sum()) for sign in (1, -1)
    )
    axes.text(0.03, 0.9, f"{system} better:\n{n_wins}", color=_BETTER, va="top")
    axes.text(0.97, 0.1, f"{baseline} better:\n{n_losses}", color=_WORSE, ha="right")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_title(f"{one.judged.short}: {measure} of {len(points):,} queries")
    axes.set_xlabel(f"{baseline} (area: number of queries)")
    axes.set_ylabel(system)


def _signed(value: float) -> str:
    """With a sign as wide as matplotlib's own."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
