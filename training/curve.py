"""The loss curve of a run as a picture, where matplotlib is installed."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

# Okabe and Ito's palette, told apart by all kinds of eyes.
_LOSS, _TERMS, _DEVELOP = "#0072B2", "#D55E00", "#009E73"
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "figure.dpi": 120,
    "svg.hashsalt": "lsr",
}
NAME = "loss-curve"


def read_log(file: Path) -> list[dict[str, Any]]:
    """The lines of a `log.jsonl` by step; of a step taken twice, after a resume, the later one.

    A line that a full disk or a power cut has torn, anywhere, is left out: no run is lost by it.
    """
    if not file.is_file():
        return []
    by_step: dict[int, dict[str, Any]] = {}
    for raw in file.read_bytes().split(b"\n")[:-1]:
        with suppress(orjson.JSONDecodeError, KeyError, TypeError):
            line = orjson.loads(raw)
            by_step[int(line["step"])] = line
    return [by_step[step] for step in sorted(by_step)]


def draw(folder: Path, stages: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Path]:
    """Write loss-curve.png and .svg: a panel a stage with its loss, terms and development score.

    Nothing is written without matplotlib or without lines; the files written are returned.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return []
    shown = {name: lines for name, lines in stages.items() if lines}
    if not shown:
        return []
    mpl.use("Agg")
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.2 * len(shown) + 0.6, 3.6), layout="constrained")
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, (name, lines) in zip(panels, shown.items(), strict=True):
            _panel(axes, name, lines)
        return [_saved(figure, folder / f"{NAME}.{kind}") for kind in ("png", "svg")]


def _panel(axes: Any, name: str, lines: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title(name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss", color=_LOSS)
    axes.plot(*_series(lines, "loss"), color=_LOSS, linewidth=1.6)
    develop = _series(lines, "develop")
    if develop[0]:
        axes.plot([], [], color=_DEVELOP, marker="o", label="development score, 0 to 1")
        score = axes.twinx()
        score.plot(*develop, color=_DEVELOP, marker="o", markersize=3, linewidth=1)
        score.set_ylim(0, 1)
        score.set_axis_off()
        axes.legend(loc="upper center", frameon=False, fontsize=8)
    terms = _series(lines, "document_terms")
    if terms[0]:
        right = axes.twinx()
        right.plot(*terms, color=_TERMS, linewidth=1.2)
        right.set_ylabel("terms a document", color=_TERMS)
        right.set_ylim(bottom=0)


def _series(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of the lines that hold a finite number of this name."""
    points = [
        (line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)
    ]
    return [step for step, _ in points], [value for _, value in points]


def _saved(figure: Any, path: Path) -> Path:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    kind = path.suffix[1:]
    figure.savefig(fresh, format=kind, metadata={"Date": None} if kind == "svg" else {})
    fresh.replace(path)
    return path
