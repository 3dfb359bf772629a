"""A comparison as tables and lists: for a terminal and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from ..measures import printed_name
from ..significance import CONFIDENCE, EXACT_UP_TO
from . import _printing as out
from ._comparison import Mean, Row
from ._markdown import markdown_cell, markdown_table
from ._reasons import Reason, View

TEXT = 76
"""Characters of a query on a line."""


@dataclass(frozen=True)
class Query:
    """One query of a comparison: both values by the first measure, and why they differ."""

    query_id: str
    text: str
    a: float
    b: float
    delta: float
    reason: Reason | None = None


@dataclass(frozen=True)
class Extremes:
    """The queries on which a system loses and gains most against the baseline."""

    dataset: str
    system: str
    worst: tuple[Query, ...]
    best: tuple[Query, ...]


@dataclass(frozen=True)
class Report:
    """Everything a comparison found; `places` says by collection and system what answered."""

    baseline: str
    systems: tuple[str, ...]
    measures: tuple[str, ...]
    rows: tuple[Row, ...]
    means: tuple[Mean, ...]
    extremes: tuple[Extremes, ...]
    places: dict[str, dict[str, str]]
    notes: tuple[str, ...]
    resamples: int
    seed: int
    command: str
    version: str


def table_of(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and cells, the means over collections last."""
    several = len(report.systems) > 1
    interval = f"{100 * CONFIDENCE:.0f} %"
    header = ["dataset", "measure", *["system"] * several, report.baseline]
    header += ["system" if several else report.systems[0], "delta", interval, "p random"]
    header += ["Holm", "p t", "Holm", "effect", "wins/ties/losses"]
    lines = []
    for row in report.rows:
        one = row.paired
        line = [row.dataset, printed_name(row.measure), *[row.system] * several]
        line += [f"{one.mean_a:.4f}", f"{one.mean_b:.4f}", f"{one.delta:+.4f}"]
        line += [f"{one.low:+.4f} to {one.high:+.4f}"]
        line += [p_value(one.p_randomisation), p_value(row.holm_randomisation)]
        line += [p_value(one.p_t), p_value(row.holm_t)]
        line += ["-" if one.effect is None else f"{one.effect:+.2f}"]
        lines.append([*line, f"{one.wins}/{one.ties}/{one.losses}"])
    for mean in report.means:
        line = [f"mean of {mean.n_collections}", printed_name(mean.measure)]
        line += [mean.system] * several
        line += [f"{mean.mean_a:.4f}", f"{mean.mean_b:.4f}", f"{mean.delta:+.4f}"]
        line += [f"{mean.low:+.4f} to {mean.high:+.4f}", *[""] * 5]
        lines.append([*line, f"{mean.wins}/{mean.ties}/{mean.losses}"])
    return header, lines


def how_tested(report: Report) -> str:
    """What stands behind the p-values, in a sentence."""
    n_exact = sum(row.paired.exact for row in report.rows)
    exact = f"; exact for {n_exact} with at most {EXACT_UP_TO} queries that differ"
    return (
        f"randomisation with {report.resamples:,} assignments{exact if n_exact else ''}, paired t, "
        f"Holm over all {len(report.rows)}"
    )


def p_value(p: float) -> str:
    """A p-value with four places.

    >>> p_value(0.04567), p_value(0.00001)
    ('.0457', '<.0001')
    """
    return "<.0001" if p < 0.0001 else "1" if p >= 1 else f"{p:.4f}".removeprefix("0")


def print_report(report: Report) -> None:
    """The tables and lists, without the last line."""
    out.table(*table_of(report))
    n_rows = out.counted(len(report.rows), "comparison")
    out.fact("tested", out.columns(n_rows, how_tested(report)))
    for note in report.notes:
        out.fact("note", out.printable(note))
    for one in report.extremes:
        for label, queries in (("worst", one.worst), ("best", one.best)):
            if queries:
                out.fact(label, _title(report, one))
            for query in queries:
                click.echo(
                    f"{query.delta:+10.4f} {query.a:.4f} > {query.b:.4f}  "
                    f"{out.printable(query.query_id)}  {out.shortened(query.text, TEXT)}"
                )
                for line in _reason_lines(query.reason):
                    click.echo(f"{'':11}{line}")


def markdown(report: Report, plots: Sequence[str]) -> str:
    """The page that stands beside the plots, whose names are given without suffix."""
    table = markdown_table(*table_of(report), text=2)
    about = f"{len(report.rows)} comparisons with {report.baseline}: {how_tested(report)}."
    about += (
        f" Intervals: {report.resamples:,} paired bootstrap means. Effect: Cohen's d of the "
        "differences. Wins are queries, in a mean collections."
    )
    parts = ["# Comparison", f"`{report.command}`", table, about]
    parts += ["\n".join(f"- {note}" for note in report.notes)] if report.notes else []
    for name in plots:
        parts.append(f"![{name}]({name}.svg)")
    for one in report.extremes:
        for label, queries in (("Worst", one.worst), ("Best", one.best)):
            if not queries:
                continue
            parts.append(f"## {label}: {_title(report, one)}")
            lines_ = []
            for query in queries:
                text = markdown_cell(out.printable(query.text))
                change = f"{query.delta:+.4f} ({query.a:.4f} > {query.b:.4f})"
                lines_.append(f"- {change} `{query.query_id}` {text}")
                lines_ += [f"  - {markdown_cell(line)}" for line in _reason_lines(query.reason)]
            parts.append("\n".join(lines_))
    return "\n\n".join(parts) + "\n"


def _title(report: Report, one: Extremes) -> str:
    measure = printed_name(report.measures[0])
    return f"{one.system} against {report.baseline} on {one.dataset}, {measure}"


def _reason_lines(reason: Reason | None) -> list[str]:
    if reason is None:
        return []
    head = f"{out.printable(reason.doc_id)} (grade {reason.grade})"
    lines = [f"{head}  {reason.title}".rstrip()]
    width = max(len(view.system) for view in reason.views)
    for view in reason.views:
        lines.append(f"{view.system.ljust(width)}  {_seen(view)}")
        rival = view.rival
        if rival is not None:
            title = out.shortened(str(rival.get("title", "")), 50)
            said = f"above it {out.printable(rival['doc_id'])} at rank {rival['rank']} {title}"
            lines.append(f"{'':{width}}  {said.rstrip()}{_terms(rival.get('terms', ()))}")
    return lines


def _seen(view: View) -> str:
    rank = "not found" if view.rank is None else f"rank {view.rank:,}"
    score = "" if view.score is None else f", score {view.score:.3f}"
    lacks = f"; lacks {', '.join(map(out.printable, view.lacks))}" if view.lacks else ""
    return f"{rank}{score}{_terms(view.terms)}{lacks}"


def _terms(terms: Sequence[tuple[str, Any]]) -> str:
    return f": {', '.join(f'{out.printable(t)} {s:.2f}' for t, s in terms)}" if terms else ""
