"""`lsr reproduce`: published figures, and whether they come out here, cell by cell."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from ..errors import UsageError
from ..published import Cell, Published, PublishedSystem, read_published
from . import _printing as out
from ._markdown import markdown_table
from ._remaking import CORPORA, NAME, Sources, Stage, stage, stages
from ._reproducing import Machine, Outcome, outcomes
from ._typed import refuse_given

DEFAULT_PLACE = Path("runs/mini")

EXAMPLES = """\b
Examples:
  lsr reproduce --list
  lsr reproduce splade-v3 --on scifact
  lsr reproduce --check
  lsr reproduce bm25 --on scifact --check
  lsr reproduce splade-v3 --model splade-v3=models/splade-v3 --check --markdown reproduced.md
  lsr reproduce mini                          the commands that made the shipped encoder
  lsr reproduce mini --stage 1 --corpora data/corpora
  lsr reproduce mini --all --corpora data/corpora        goes on where it was stopped
  lsr reproduce mini --all --rehearse                    in minutes: does each command work here?
"""


@click.command(epilog=EXAMPLES)
@click.argument("systems", nargs=-1, metavar="[SYSTEM]...")
@click.option(
    "--on", "on", multiple=True, metavar="DATASET", help="Only this collection. Repeatable."
)
@click.option("--check", is_flag=True, help="Measure what is on this machine and compare.")
@click.option("--list", "listed", is_flag=True, help="List the systems, their licences and notes.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=FOLDER",
    help="The encoder of a system, in a folder. Repeatable.",
)
@click.option(
    "--table", type=click.Path(path_type=Path), help="Figures of your own, in the shipped layout."
)
@click.option("--download", is_flag=True, help="Fetch encoders and collections that are missing.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write a table with all cells.")
@click.option("--stage", "number", type=int, help="Of mini: run this command, from 1.")
@click.option(
    "--all", "whole", is_flag=True, help="Of mini: run all commands without a result yet."
)
@click.option(
    "--rehearse", is_flag=True, help="Of mini: few queries and steps, results in INTO/rehearsal."
)
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    default=DEFAULT_PLACE,
    show_default=True,
    help="Of mini: where results go.",
)
@click.option(
    "--corpora",
    type=click.Path(path_type=Path),
    default=Path("corpora"),
    show_default=True,
    help=f"Of mini: the folder of {', '.join(file for file, _ in CORPORA.values())}.",
)
@click.option(
    "--backbone",
    default="sentence-transformers/all-MiniLM-L6-v2",
    show_default=True,
    help="Of mini: its name on the hub, or a folder.",
)
@click.option(
    "--teacher",
    default="thenlper/gte-small",
    show_default=True,
    help="Of mini: its name on the hub, or a folder.",
)
@click.option(
    "--second-teacher",
    default="sentence-transformers/all-mpnet-base-v2",
    show_default=True,
    help="Of mini: its name on the hub, or a folder.",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def reproduce(
    *,
    systems: tuple[str, ...],
    on: tuple[str, ...],
    check: bool,
    listed: bool,
    models: tuple[str, ...],
    table: Path | None,
    download: bool,
    markdown: Path | None,
    number: int | None,
    whole: bool,
    rehearse: bool,
    into: Path,
    corpora: Path,
    backbone: str,
    teacher: str,
    second_teacher: str,
    json: bool,
) -> int:
    """Show what is published about each SYSTEM (all if none is named), and check it with --check.

    A cell passes if the value measured here lies within the tolerance of a published one. Encoders
    come from --model or the hub's local cache, collections from LSR_DATA or the cache; what is
    missing is said to be, and never counts as a failure. Exit code 1 if a cell fails. `mini` is
    the encoder this package ships: its name lists the commands that made it, --stage runs one
    and --all those whose result is not there.
    """
    if systems == (NAME,):
        others = ("on", "check", "listed", "models", "table", "download", "markdown")
        refuse_given(others, f"{NAME} is remade by its commands, and has no published figures")
        if whole and (json or number is not None):
            other = "--json" if json else f"--stage {number}"
            raise UsageError(f"--all runs many commands; leave {other} out, or --all")
        if Path(teacher).name == Path(second_teacher).name:
            raise UsageError(
                f"--teacher and --second-teacher are both called '{Path(teacher).name}', and "
                "recipes tell teachers apart by name; name two, or a link of another name"
            )
        # A rehearsal's results must never pass for those of the real thing.
        place = into / "rehearsal" if rehearse else into
        sources = Sources(corpora, backbone, teacher, second_teacher)
        every = stages(place, sources, briefly=rehearse)
        if whole:
            return _remake_all(every)
        asked = [] if into == DEFAULT_PLACE else ["--into", str(into)]
        asked += ["--rehearse"] if rehearse else []
        return _remake(number, every, asked, json=json)
    if number is not None or whole or rehearse:
        option = "--all" if whole else "--rehearse" if rehearse else f"--stage {number}"
        raise UsageError(f"{option} belongs to `lsr reproduce {NAME}`")
    figures = read_published(table)
    if listed:
        chosen = [figures.find_system(name) for name in systems] or list(figures.system)
        _list(figures, chosen, json=json)
        return 0
    folders = _folders(figures, models)
    machine = Machine(folders, download=download, collections=figures.collection)
    cells = figures.cells(systems, on)
    found = []
    for outcome in outcomes(cells, machine, check=check):
        found.append(outcome)
        if not json and not (check and outcome.status == "absent"):
            _print(outcome)
    if markdown is not None:
        _write_markdown(markdown, figures, found)
    failed = any(outcome.status == "fail" for outcome in found)
    if json:
        out.as_json({"cells": [outcome.as_dict() for outcome in found], "failed": failed})
        return int(failed)
    _print_absent(found)
    counts = Counter(outcome.status for outcome in found)
    what = (
        f"{counts['pass']} pass, {counts['fail']} fail"
        if check
        else f"{counts['present']} can be checked here"
    )
    out.fact(
        "checked" if check else "published",
        out.columns(out.counted(len(found), "cell"), f"{what}, {counts['absent']} cannot be here"),
    )
    if markdown is not None:
        out.fact("wrote", str(markdown))
    if check:
        out.next_step("lsr", "reproduce", *systems, "--list")
    else:
        asked = [word for name in on for word in ("--on", name)]
        given = [word for name in models for word in ("--model", name)]
        out.next_step("lsr", "reproduce", *systems, *asked, *given, "--check")
    return int(failed)


def _remake(number: int | None, every: Sequence[Stage], asked: Sequence[str], *, json: bool) -> int:
    """List the commands that made the shipped encoder, or run one of them."""
    if number is not None:
        return _run(stage(number, every), json=json)
    if json:
        listed = [{"says": one.says, "command": ["lsr", *one.command]} for one in every]
        out.as_json({"stages": listed})
        return 0
    for at, one in enumerate(every, start=1):
        out.fact(f"{at} {one.says}", shlex.join(["lsr", *one.command]))
    out.next_step("lsr", "reproduce", NAME, *asked, "--all")
    return 0


def _remake_all(every: Sequence[Stage]) -> int:
    """Run, in order, those whose result is not there; end with the first that fails."""
    for at, one in enumerate(every, start=1):
        if one.result is not None and one.result.exists():
            out.note("there", f"{at} {one.says}: {one.result}")
            continue
        out.note("stage", f"{at} {one.says}: {shlex.join(['lsr', *one.command])}")
        if code := _run(one, json=False):
            return code
    return 0


def _run(one: Stage, *, json: bool) -> int:
    from ..__main__ import run

    return run([*one.command, *(["--json"] if json else [])])


def _folders(table: Published, models: Sequence[str]) -> dict[str, Path]:
    folders = {}
    for given in models:
        name, equals, folder = given.partition("=")
        if not equals or not folder:
            raise UsageError(f"--model {given}: wanted NAME=FOLDER")
        system = table.find_system(name)
        if not Path(folder).is_dir():
            raise UsageError(f"--model {given}: no such folder")
        folders[system.name] = Path(folder)
    return folders


def _print(outcome: Outcome) -> None:
    cell = outcome.cell
    where = f"{cell.system.name} on {cell.collection.name}"
    if outcome.value is not None:
        figure = cell.closest(outcome.value)
        words = (
            f"{cell.measure} {_short(outcome.value)}, published {_published(cell)}, "
            f"{_short(abs(outcome.value - figure.value))} off, {_short(figure.tolerance)} allowed"
        )
    elif outcome.status == "fail":
        words = f"{cell.measure}, published {_published(cell)}: {outcome.reason}"
    else:
        words = f"{cell.measure}, published {_published(cell)}"
    verb = outcome.status if outcome.status in ("pass", "fail") else "figure"
    out.fact(verb, f"{where}, {words}{_mark(cell)}")
    if outcome.command is not None:
        out.fact("command", outcome.command)


def _print_absent(found: Sequence[Outcome]) -> None:
    """One line for all cells of a system that are missing for one reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for outcome in found:
        if outcome.status == "absent":
            key = (outcome.cell.system.name, outcome.reason or "")
            groups.setdefault(key, []).append(outcome.cell.collection.name)
    for (system, reason), collections in groups.items():
        where = ", ".join(dict.fromkeys(collections))
        cells = out.counted(len(collections), "cell")
        out.fact("absent", f"{system} on {where} ({cells}): {reason}")


def _published(cell: Cell) -> str:
    """The values with their sources: `.6789 (lucene), .6789 (pyserini-beir)`."""
    return ", ".join(
        f"{_short(figure.value)} ({figure.source.name}"
        f"{'' if figure.source.first_hand else ', second-hand'})"
        for figure in cell.figures
    )


def _mark(cell: Cell) -> str:
    return ", not zero-shot" if cell.collection.name in cell.system.trained_on else ""


def _short(value: float) -> str:
    """A share to four digits, as papers write it: .6789."""
    text = f"{value:.4f}"
    return text[1:] if text.startswith("0") else text


def _list(table: Published, systems: Sequence[PublishedSystem], *, json: bool) -> None:
    if json:
        out.as_json(
            [
                {
                    "name": system.name,
                    "title": system.title,
                    "encoder": system.encoder,
                    "licence": system.licence,
                    "cells": len(table.cells([system.name])),
                    "trained_on": system.trained_on,
                    "note": system.note or system.absent,
                }
                for system in systems
            ]
        )
        return
    for system in systems:
        cells = out.counted(len(table.cells([system.name])), "cell")
        run = f"--encoder {system.encoder}" if system.encoder else system.absent
        out.fact("system", f"{system.name}: {system.title}")
        out.fact("", f"{cells}, licence {system.licence}, {run}")
        if system.note:
            out.fact("", system.note)
    out.fact("table", out.columns(out.counted(len(systems), "system"), "data/published.toml"))
    out.next_step("lsr", "reproduce", systems[0].name, "--check")


def _write_markdown(path: Path, table: Published, found: Sequence[Outcome]) -> None:
    from ..files import atomic_write

    header = ["system", "collection", "measure", "published", "here", "verdict", "command"]
    parts = [
        markdown_table(header, [_cells(outcome) for outcome in found], text=len(header)),
        "\n".join(_sources(table, found)),
    ]
    with atomic_write(path) as file:
        file.write(("\n\n".join(parts) + "\n").encode())


def _cells(outcome: Outcome) -> list[str]:
    cell = outcome.cell
    return [
        cell.system.name,
        cell.collection.name + (" (not zero-shot)" if _mark(cell) else ""),
        cell.measure,
        _published(cell),
        "" if outcome.value is None else _short(outcome.value),
        outcome.status + (f": {outcome.reason}" if outcome.reason else ""),
        "" if outcome.command is None else f"`{outcome.command}`",
    ]


def _sources(table: Published, found: Sequence[Outcome]) -> Iterator[str]:
    used = {figure.source.name for outcome in found for figure in outcome.cell.figures}
    for source in table.source:
        if source.name in used:
            how = "" if source.first_hand else ", from notes on it"
            yield f"- {source.name}: {source.where}, read {source.read}{how}"
