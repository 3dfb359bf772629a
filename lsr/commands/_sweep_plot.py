"""The figure of `lsr sweep`: nDCG@10 against FLOPS, bytes, latency, with fronts; PNG and SVG.

Every dot is a configuration; a staircase joins what nothing of the same encoder dominates, and a
grey band is the front of all encoders. Stars are the cheapest within 1 % of the best.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_write
from ._drawing import LINES, require_matplotlib, saved
from ._sweep import Point
from ._sweep_report import COSTS, WITHIN, Cost, Findings

SHOWN_FROM = 0.5
"""Dots below this share of the best are left out: they would flatten what matters."""
NAMES = 9
"""Names a panel has room for; the page names every dot."""
_OFFSETS = ((8, -10), (-8, 6), (8, 6), (-8, -11), (10, -15), (-10, 12), (10, 12))


def draw(folder: Path, findings: Findings, frame: dict[str, Any]) -> list[Path]:
    """Write trade-off.png and trade-off.svg. Raises `MissingExtra`."""
    require_matplotlib()
    import matplotlib as mpl
    from PIL import Image

    with mpl.rc_context({"svg.fonttype": "none"}):  # words, not outlines: half the bytes
        files = saved(
            folder / "trade-off",
            lambda *panels: _panels(panels, findings, frame),
            width=13.5,
            height=4.6,
            n_panels=len(COSTS),
        )
    with Image.open(files[0]) as picture:
        few = picture.convert("RGB").quantize(128)  # a third of the bytes, to the eye the same
    smaller = io.BytesIO()
    few.save(smaller, format="png", optimize=True)
    with atomic_write(files[0]) as file:
        file.write(smaller.getvalue())
    return files


def _panels(panels: Sequence[Any], findings: Findings, frame: dict[str, Any]) -> None:
    best = findings.real[0].ndcg_10
    floor = max(SHOWN_FROM * best, min(one.ndcg_10 for one in findings.points))
    n_below = sum(one.ndcg_10 < floor for one in findings.points)
    colours = dict(zip(findings.encoders(), LINES * len(findings.points), strict=False))
    for axes, cost in zip(panels, COSTS, strict=True):
        _dots(axes, findings, cost, colours, floor)
        axes.set_xscale("log")
        axes.set_xlabel(cost.unit)
        axes.axhline((1 - WITHIN) * best, color="#777777", linewidth=0.7, linestyle=(0, (4, 3)))
        axes.margins(x=0.12)
        _widened(axes)
        _plain_numbers(axes.xaxis)
        axes.set_title(f"Quality against {cost.name}")
    top = max(one.ndcg_10 for one in findings.points)
    panels[0].set_ylim(floor - 0.06 * (top - floor) - 1e-3, top + 0.12 * (top - floor) + 1e-3)
    panels[0].set_ylabel(f"nDCG@10 on {frame['dataset']} {frame['split']}")
    panels[0].figure.canvas.draw()  # now every label can be measured where it would lie
    for axes, cost in zip(panels, COSTS, strict=True):
        if len(colours) > 1:
            _name_encoders(axes, findings, cost, colours)
        _name_points(axes, findings, cost, colours, floor)
    notes = [f"dashed: {100 * WITHIN:g} % below the best; star: the cheapest above it"]
    notes += [f"{n_below} configurations below {floor:.2f} not drawn"] if n_below else []
    panels[0].annotate(
        "\n".join(notes), (0.98, 0.02), xycoords="axes fraction", fontsize=7, color="#555555",
        ha="right", va="bottom",
    )  # fmt: skip


def _dots(axes: Any, findings: Findings, cost: Cost, colours: dict[str, str], floor: float) -> None:
    if len(colours) > 1:
        _stairs(axes, findings, cost, None, color="#BBBBBB", linewidth=6, alpha=0.55, zorder=1)
    for encoder, colour in colours.items():
        shown = [p for p in findings.points if p.encoder == encoder and p.ndcg_10 >= floor]
        for simulated, face in ((False, colour), (True, "none")):
            dots = [p for p in shown if p.simulated == simulated]
            axes.plot(
                [_x(cost, p) for p in dots], [p.ndcg_10 for p in dots], "o", markersize=3.5,
                markerfacecolor=face, markeredgecolor=colour, markeredgewidth=0.6, alpha=0.4,
            )  # fmt: skip
        _stairs(axes, findings, cost, encoder, color=colour, linewidth=1.4, zorder=3)
        kept = [p for p in findings.front(cost, encoder) if p.ndcg_10 >= floor]
        axes.plot(
            [_x(cost, p) for p in kept], [p.ndcg_10 for p in kept], "o", color=colour,
            markersize=4.5, zorder=4,
        )  # fmt: skip
    star = findings.cheapest(cost)
    if star is not None:
        axes.plot(
            [_x(cost, star)], [star.ndcg_10], "*", markersize=15, zorder=5,
            markerfacecolor=colours[star.encoder], markeredgecolor="white", markeredgewidth=0.8,
        )  # fmt: skip


def _stairs(axes: Any, findings: Findings, cost: Cost, encoder: str | None, **line: Any) -> None:
    kept = findings.front(cost, encoder)
    axes.step([_x(cost, p) for p in kept], [p.ndcg_10 for p in kept], where="post", **line)


def _x(cost: Cost, point: Point) -> float:
    value = cost.of(point)
    return value / 1e6 if cost.field == "search_bytes" else value


def _name_encoders(axes: Any, findings: Findings, cost: Cost, colours: dict[str, str]) -> None:
    """Each encoder's name above the end of its stairs."""
    for encoder, colour in colours.items():
        for end in findings.front(cost, encoder)[-1:]:
            axes.annotate(
                Path(encoder).name,
                (_x(cost, end), end.ndcg_10),
                xytext=(0, 9),
                textcoords="offset points",
                fontsize=9,
                fontweight="bold",
                color=colour,
                ha="center",
            )


def _name_points(
    axes: Any, findings: Findings, cost: Cost, colours: dict[str, str], floor: float
) -> None:
    """Name the star, each encoder's best, then what else of the fronts has room for a name."""
    taken = _occupied(axes, findings, cost, colours, floor)
    room = len(taken) + NAMES
    star = findings.cheapest(cost)
    for point in _by_importance(findings, cost):
        if point.ndcg_10 < floor or len(taken) >= room:
            continue
        bold = point is star
        for dx, dy in _OFFSETS:
            label = axes.annotate(
                point.label,
                (_x(cost, point), point.ndcg_10),
                xytext=(dx, dy),
                textcoords="offset points",
                fontsize=7,
                fontweight="bold" if bold else "normal",
                color=colours[point.encoder],
                ha="left" if dx > 0 else "right",
                bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7},
                zorder=6,
            )
            box = label.get_window_extent()
            if _holds(axes.bbox, box) and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def _occupied(
    axes: Any, findings: Findings, cost: Cost, colours: dict[str, str], floor: float
) -> list[Any]:
    """Where no name may lie, in pixels: on the stairs, their dots, and the star."""
    from matplotlib.transforms import Bbox

    boxes = [text.get_window_extent() for text in axes.texts]
    for encoder in colours:
        kept = [p for p in findings.front(cost, encoder) if p.ndcg_10 >= floor]
        places = axes.transData.transform([(_x(cost, p), p.ndcg_10) for p in kept] or [(0.0, 0.0)])
        for i, (x, y) in enumerate(places):
            size = 12 if kept and kept[i] is findings.cheapest(cost) else 5
            boxes.append(Bbox.from_extents(x - size, y - size, x + size, y + size))
            if i + 1 < len(places):
                right, up = places[i + 1]
                boxes += [Bbox.from_extents(x, y - 1, right, y + 1)]
                boxes += [Bbox.from_extents(right - 1, y, right + 1, up)]
    return boxes


def _holds(outer: Any, inner: Any) -> bool:
    return bool(
        outer.x0 - 4 <= inner.x0
        and inner.x1 <= outer.x1 + 4
        and outer.y0 <= inner.y0
        and inner.y1 <= outer.y1
    )


def _by_importance(findings: Findings, cost: Cost) -> list[Point]:
    """The points of all fronts: the star, each encoder's best, then the most valuable first."""
    fronts = [findings.front(cost, encoder) for encoder in findings.encoders()]
    star = findings.cheapest(cost)
    first = [*([] if star is None else [star]), *(one[-1] for one in fronts if one)]
    rest = sorted((p for one in fronts for p in one), key=lambda p: -p.ndcg_10)
    return list({id(point): point for point in [*first, *rest]}.values())


def _widened(axes: Any) -> None:
    """A factor of 2 at least from end to end: a smaller difference should not look like much."""
    low, high = axes.get_xlim()
    by = max(1.0, 2 * low / high) ** 0.5
    axes.set_xlim(low / by, high * by)


def _plain_numbers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    between = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if high < 3 * low else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=between if high < 300 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())
