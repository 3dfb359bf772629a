"""The plot of `lsr rerank --study`: effectiveness against the share of comparisons; PNG and SVG."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..reranking.aggregation import AGGREGATIONS
from ..reranking.sampling import SAMPLERS
from ._drawing import LINES, saved

if TYPE_CHECKING:
    from ..reranking.study import Study

_TITLES = {
    "exhaustive": "Exhaustive window: neighbours",
    "skip": "Skip window: evenly apart",
    "random": "Random",
}
_DASHES = ("-", "-", "-", "-", "--")
"""With the fifth colour black, a second mark for prints without colour."""

_KWIKSORT = LINES[AGGREGATIONS.index("kwiksort")]


def draw_study(stem: Path, study: "Study", title: str) -> list[Path]:
    """Write STEM.png and STEM.svg: a panel a sampler, a line an aggregation."""

    def draw(*panels: Any) -> None:
        for panel, sampler in zip(panels, SAMPLERS, strict=True):
            _panel(panel, study, sampler)
        panels[0].set_ylabel(f"{study.measure}, {study.n_queries} queries, top {study.depth}")
        panels[0].set_title(f"{title}\n{_TITLES[SAMPLERS[0]]}")
        _name_lines(panels[-1], study)

    return saved(stem, draw, width=13.5, height=4.8, n_panels=len(SAMPLERS))


def _panel(axes: Any, study: "Study", sampler: Any) -> None:
    for aggregation, colour, dash in zip(AGGREGATIONS, LINES, _DASHES, strict=True):
        points = study.of(sampler, aggregation)
        axes.plot(
            [100 * point.share for point in points],
            [point.value for point in points],
            dash,
            color=colour,
            marker="o",
            markersize=3,
            linewidth=1.6,
        )
    share, value = study.asking
    axes.plot([100 * share], [value], "D", color=_KWIKSORT, markersize=7)
    axes.axhline(study.first_stage, color="#777777", linewidth=1, linestyle=":")
    axes.axvline(100 / 3, color="#777777", linewidth=1, linestyle=":")
    axes.set_xlim(0, 102)
    axes.set_title(_TITLES[sampler])
    axes.set_xlabel("comparisons made, % of k² - k")
    if sampler == SAMPLERS[0]:
        axes.annotate(
            "first stage",
            (100, study.first_stage),
            xytext=(0, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
            color="#555555",
        )
        axes.annotate(
            "a third",
            (100 / 3, 0.02),
            xycoords=axes.get_xaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
        )
        axes.plot([0.45], [0.13], "D", color=_KWIKSORT, markersize=7, transform=axes.transAxes)
        axes.annotate(
            "kwiksort that asks as it sorts",
            (0.45, 0.13),
            xycoords=axes.transAxes,
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=_KWIKSORT,
        )


def _name_lines(axes: Any, study: "Study") -> None:
    """Name each line where it ends, at all comparisons, none over another."""
    low, high = axes.get_ylim()
    gap = (high - low) / 18
    place = float("inf")
    ends = zip(AGGREGATIONS, LINES, strict=True)
    for aggregation, colour in sorted(ends, key=lambda end: -study.complete[end[0]]):
        value = study.complete[aggregation]
        place = min(value, place - gap)
        axes.annotate(
            f"{aggregation} {value:.3f}",
            (100, value),
            xytext=(1.03, place),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "relpos": (0, 0.5),
                "shrinkB": 3,
            },
        )
