"""Rows of an evaluation as tables: for a terminal, and as Markdown."""

from collections.abc import Callable, Sequence

from ..measures import printed_name
from . import _printing as out
from ._markdown import markdown_table
from ._rows import Means, Row

MARK = "*"

_READING = """\
Documents are title + text, gains are grades, queries without judgements are left out. 95 %:
percentiles of 10,000 bootstrap means of nDCG@10. hole@10: share of the first ten documents that
nobody has judged."""
READING_COSTS = """\
Rates are of this machine at the time, queries as one batch over all threads. FLOPS: multiply-adds
an average query costs against an average document. Terms and FLOPS of several stages are those of
the first sparse one; index and docs/s are of all."""

Column = tuple[str, Callable[[Row], str]]

COSTS: tuple[Column, ...] = (
    ("terms/doc", lambda row: _number(row.terms_per_document, ".1f")),
    ("terms/query", lambda row: _number(row.terms_per_query, ".1f")),
    ("FLOPS", lambda row: _number(row.flops, ".2f")),
    ("index", lambda row: "-" if row.index_bytes is None else out.size(row.index_bytes)),
    ("docs/s", lambda row: _number(row.encode_docs_per_s, ",.0f")),
    ("queries/s", lambda row: _number(row.encode_queries_per_s, ",.0f")),
    ("searches/s", lambda row: _number(row.search_queries_per_s, ",.0f")),
)
"""What a system costs: active terms, multiply-adds, bytes, and how much it encodes and searches."""


def dataset_name(row: Row) -> str:
    """The collection, with its split where that is not test."""
    return row.dataset if row.split == "test" else f"{row.dataset} {row.split}"


def system_name(row: Row) -> str:
    """The system, with a mark where it has seen the collection."""
    return f"{row.system} {MARK}" if row.contamination else row.system


def quality(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of what was measured; nDCG@10 is followed by its interval."""
    measures = list(dict.fromkeys(name for row in rows for name in row.measures))
    header = ["dataset", "system", "queries"]
    for name in measures:
        header += [printed_name(name), *(["95 %"] if name == "nDCG@10" else [])]
    lines = []
    for row in rows:
        line = [dataset_name(row), system_name(row), f"{row.n_queries:,}"]
        for name in measures:
            line.append(_number(row.measures.get(name), ".4f"))
            if name == "nDCG@10":
                line.append("-" if row.interval is None else _interval(row.interval))
        lines.append([*line, _number(row.hole_at_10, ".2f")])
    return [*header, "hole@10"], lines


def mean_lines(found: Means, header: Sequence[str], rows: Sequence[Row]) -> list[list[str]]:
    """Cells of the means under the header of `quality`."""
    measures = {printed_name(name): name for row in rows for name in row.measures}
    lines = []
    for mean in found.rows:
        marked = f" {MARK}" if mean.n_marked else ""
        line = [f"{mean.over} of {mean.n_collections}", f"{mean.system}{marked}", ""]
        for column in header[3:]:
            name = measures.get(column)
            line.append("" if name is None else _number(mean.measures.get(name), ".4f"))
        lines.append(line)
    return lines


def costs(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of what the systems cost; columns that nobody fills are left out."""
    columns = [(name, of) for name, of in COSTS if any(of(row) != "-" for row in rows)]
    header = ["dataset", "system", *(name for name, _ in columns)]
    return header, [
        [dataset_name(row), row.system, *(of(row) for _, of in columns)] for row in rows
    ]


def footnotes(rows: Sequence[Row], found: Means) -> list[str]:
    """What the marks mean, what was done by convention, and why there is no mean."""
    notes = [
        f"{MARK} {row.system} on {row.dataset} is not zero-shot: {'; '.join(row.contamination)}."
        for row in rows
        if row.contamination
    ]
    for row in rows:
        if row.convention:
            notes.append(f"{row.dataset}: {'; '.join(row.convention)}.")
    notes += [f"No mean: {reason}." for reason in found.refused]
    return list(dict.fromkeys(notes))


def markdown(rows: Sequence[Row], found: Means, *, command: str) -> str:
    """The tables as a page, with the command that made them."""
    header, lines = quality(rows)
    parts = ["# Evaluation", f"`{command}`"]
    if rows:
        parts += [
            markdown_table(header, [*lines, *mean_lines(found, header, rows)], text=2),
            _READING,
        ]
    parts.append("\n".join(f"- {note}" for note in footnotes(rows, found)))
    if rows:
        parts += ["## Costs", markdown_table(*costs(rows), text=2), READING_COSTS]
    return "\n\n".join(filter(None, parts)) + "\n"


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3f}-{ends[1]:.3f}"


def _number(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)
