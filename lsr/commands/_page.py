"""An evaluation as a page: a table to read across, a plot with intervals, all figures below.

What a person makes of it is theirs to write: `reading.md` in the page's folder is put on top.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from ..errors import DatasetError, UsageError
from ..files import atomic_write
from ._drawing import LINES, saved
from ._markdown import markdown_table
from ._rows import Mean, Row
from ._suite import Outcome
from ._tables import (
    MARK,
    READING_COSTS,
    costs,
    dataset_name,
    footnotes,
    mean_lines,
    quality,
)

READING = "reading.md"
_MAIN = "nDCG@10"
_DEPTH = 10
_COLUMNS = 3
_LEGEND = f"""\
Bold: the highest of its row, which need not be a difference that counts; the plot has 95 %
bootstrap intervals, and `lsr compare` tests differences. {MARK}: the system is known to have seen
the collection (hollow in the plot)."""


def require_main(measures: Sequence[str], k: int) -> None:
    """Raise `UsageError` where the one that a page is about is not measured."""
    if _MAIN not in measures:
        asked = ", ".join(measures)
        raise UsageError(f"--page is about {_MAIN}, got --measure {asked}; add --measure {_MAIN}")
    if k < _DEPTH:
        raise UsageError(f"--page is about {_MAIN}, which -k {k} does not reach; give {_DEPTH}")


def write_page(folder: Path, outcome: Outcome, *, command: str) -> list[Path]:
    """Write README.md, results.json and the plot of `outcome` to `folder`; their paths.

    Paths of indexes stay out: where they lay is nobody's business. Raises `UsageError` where
    nDCG@10 was not measured.
    """
    rows = outcome.rows
    if not rows or any(row.measures.get(_MAIN) is None for row in rows):
        raise UsageError(f"a page is about {_MAIN}; measure it for at least one collection")
    folder.mkdir(parents=True, exist_ok=True)
    plots = saved(
        folder / "ndcg",
        lambda *axes: _draw(axes, rows),
        width=9.6,
        height=0.9 + _panel_height(rows) * -(-len(_names(rows)[0]) // _COLUMNS),
        n_panels=len(_names(rows)[0]),
        columns=_COLUMNS,
    )
    text = _text(outcome, command=command, reading=_reading(folder / READING))
    kept = {"command": command, "rows": [_fact_sheet(row) for row in rows]}
    contents = {
        "README.md": text.encode(),
        "results.json": orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
    }
    for name, content in contents.items():
        with atomic_write(folder / name) as file:
            file.write(content)
    return [*(folder / name for name in contents), *plots]


def _fact_sheet(row: Row) -> dict[str, Any]:
    return {k: v for k, v in asdict(row).items() if k not in ("index", "details", "command")}


def _reading(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as text: {error}") from error


def _names(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Collections and systems, each in the order of their first row."""
    datasets = list(dict.fromkeys(dataset_name(row) for row in rows))
    return datasets, list(dict.fromkeys(row.system for row in rows))


def _text(outcome: Outcome, *, command: str, reading: str) -> str:
    rows, found = outcome.rows, outcome.means
    datasets, systems = _names(rows)
    by = {(dataset_name(row), row.system): row for row in rows}
    lines = []
    for dataset in datasets:
        own = [by.get((dataset, system)) for system in systems]
        best = max(_main(row) for row in own if row is not None)
        lines.append([dataset, *(_cell(row, best) for row in own)])
    for over in dict.fromkeys(mean.over for mean in found.rows):
        values = {mean.system: _main(mean) for mean in found.rows if mean.over == over}
        lines.append([f"{over}", *(f"{values[system]:.3f}" for system in systems)])
    header, whole = quality(rows)
    parts = [
        "# Results",
        f"nDCG@10, {len(systems)} systems on {len(datasets)} collections. Made by",
        f"```\n{command}\n```",
        reading,
        markdown_table(["", *systems], lines, text=1),
        _LEGEND,
        "![nDCG@10 of each system with its 95 % interval, one panel a collection](ndcg.svg)",
        "\n".join(f"- {note}" for note in footnotes(rows, found)),
        "<details><summary>All measures</summary>",
        markdown_table(header, [*whole, *mean_lines(found, header, rows)], text=2),
        "</details>\n\n<details><summary>Costs</summary>",
        markdown_table(*costs(rows), text=2),
        READING_COSTS,
        "</details>",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _cell(row: Row | None, best: float) -> str:
    if row is None:
        return "-"
    value = f"{_main(row):.3f}"
    shown = f"**{value}**" if value == f"{best:.3f}" else value
    return f"{shown} {MARK}" if row.contamination else shown


def _main(row: Row | Mean) -> float:
    value = row.measures[_MAIN]
    assert value is not None, "write_page wants it of every row"
    return value


def _panel_height(rows: Sequence[Row]) -> float:
    return 0.75 + 0.17 * len(_names(rows)[1])


def _draw(axes: Sequence[Any], rows: Sequence[Row]) -> None:
    datasets, systems = _names(rows)
    places = {system: len(systems) - 1 - i for i, system in enumerate(systems)}
    for axis, dataset in zip(axes, datasets, strict=True):
        own = [row for row in rows if dataset_name(row) == dataset]
        first = _main(own[0])
        axis.axvline(first, color="#BBBBBB", linewidth=1, zorder=1)
        for row in own:
            value, colour = _main(row), LINES[systems.index(row.system) % len(LINES)]
            y = places[row.system]
            if row.interval is not None:
                axis.plot(row.interval, [y, y], color=colour, linewidth=1.6, zorder=2)
            hollow = bool(row.contamination)
            axis.plot(
                [value],
                [y],
                "o",
                color=colour,
                markersize=5,
                zorder=3,
                markerfacecolor="white" if hollow else colour,
            )
        axis.set_title(dataset, fontsize=9, pad=4)
        axis.set_yticks(list(places.values()), list(places))
        axis.set_ylim(-0.7, len(systems) - 0.3)
        axis.tick_params(labelsize=8)
        axis.grid(visible=False, axis="y")
