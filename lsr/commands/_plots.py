"""The plots of `lsr bench`: latencies, the price of asking for less, throughput; PNG and SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._drawing import LINES, saved

if TYPE_CHECKING:
    from ._bench import Row

COLOURS = {"exact": "#000000", "approximate": "#0072B2", "pruned": "#D55E00"}


def draw_all(
    folder: Path,
    *,
    rows: "Sequence[Row]",
    times: Mapping[int, npt.NDArray[np.float64]],
    queries_a_second: Mapping[int, float],
    k: int,
) -> list[Path]:
    """Write every plot twice; the files, each whole or not there. Raises `MissingExtra`."""
    written = []
    for name, draw in (
        ("latency", lambda axes: _latency(axes, times)),
        ("throughput", lambda axes: _throughput(axes, queries_a_second, k)),
    ):
        written += saved(folder / name, draw)
    compared = [row for row in rows if row.k == k]
    n_panels = 2 if any(row.kind == "pruned" for row in compared) else 1
    written += saved(
        folder / "trade-off",
        lambda *panels: _trade_off(panels[0], panels[-1], compared),
        width=5.4 * n_panels + 1.8 * (n_panels == 1),
        n_panels=n_panels,
    )
    return written


def _latency(axes: Any, times: Mapping[int, npt.NDArray[np.float64]]) -> None:
    """Share of the queries answered within so many microseconds, a line for each k."""
    for colour, (k, wall) in zip(LINES, times.items(), strict=False):
        ordered = np.sort(wall)
        shares = np.arange(1, len(ordered) + 1) / len(ordered) * 100
        axes.step(ordered, shares, where="post", color=colour, linewidth=1.8)
        middle = float(np.median(wall))
        axes.plot([middle], [50], "o", color=colour, markersize=5)
        axes.annotate(
            f"k = {k:,}: median {middle:,.0f} µs,\n99 % within {np.percentile(wall, 99):,.0f} µs",
            (middle, 50),
            xytext=(10, -4),
            textcoords="offset points",
            va="top",
            color=colour,
        )
    axes.set_xscale("log")
    everything = np.concatenate(list(times.values()))
    axes.set_xlim(everything.min() / 1.3, everything.max() * 1.6)
    axes.set_ylim(0, 101)
    axes.set_title("How long an exact search takes")
    axes.set_xlabel("microseconds a query, ids included (wall clock, log scale)")
    axes.set_ylabel("queries answered, %")
    _plain_numbers(axes.xaxis)


def _trade_off(left: Any, right: Any, rows: "Sequence[Row]") -> None:
    """Quality against time: approximate searches of the index, and searches of pruned vectors."""
    judged = all(row.ndcg_10 is not None for row in rows)

    def quality(row: "Row") -> float:
        return row.ndcg_10 if judged and row.ndcg_10 is not None else 100 * row.overlap

    panels: list[tuple[Any, tuple[str, ...], str]] = [
        (left, ("exact", "approximate"), "Approximate searches")
    ]
    if right is not left:
        panels.append((right, ("pruned",), "Pruned vectors, core alone"))
    for axes, kinds, title in panels:
        for row in rows:
            if row.kind in kinds:
                x, y = row.latency.cpu_mean, quality(row)
                axes.plot([x], [y], "o", color=COLOURS[row.kind], markersize=6)
        axes.margins(x=0.1, y=0.12)
        axes.set_title(title)
        axes.set_xlabel("CPU microseconds a query, mean")
    for axes, kinds, _ in panels:  # now that the shared scale is known
        _name(
            axes,
            [
                (row.latency.cpu_mean, quality(row), row.label, COLOURS[row.kind])
                for row in rows
                if row.kind in kinds
            ],
        )
    left.set_ylabel("nDCG@10" if judged else f"overlap with the exact top {rows[0].k}, %")


def _name(axes: Any, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Name every point to the right of all, no name over another, a thin line to its point."""
    low, high = axes.get_ylim()
    gap = (high - low) / 18
    place = np.inf
    for x, y, label, colour in sorted(points, key=lambda point: -point[1]):
        place = min(y, place - gap)
        axes.annotate(
            label,
            (x, y),
            xytext=(1.03, place),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=colour,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkB": 3},
        )


def _throughput(axes: Any, queries_a_second: Mapping[int, float], k: int) -> None:
    threads = list(queries_a_second)
    rates = [queries_a_second[n] for n in threads]
    bars = axes.bar([str(n) for n in threads], rates, width=0.5, color=LINES[0])
    for bar, n, rate in zip(bars, threads, rates, strict=True):
        factor = "" if n == threads[0] else f"\n{rate / rates[0]:.2f} x"
        axes.annotate(
            f"{rate:,.0f}{factor}",
            (bar.get_x() + bar.get_width() / 2, rate),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
        )
    axes.set_ylim(0, max(rates) * 1.2)
    axes.grid(visible=False)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.set_title(f"Queries a second, exact top {k}, in batches")
    axes.set_xlabel("threads")


def _plain_numbers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    plain = FuncFormatter(lambda value, _: f"{value:,.0f}")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(plain)
    axis.set_minor_formatter(NullFormatter())
