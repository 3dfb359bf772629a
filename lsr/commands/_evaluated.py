"""What `lsr evaluate` prints: one row and its facts, or the tables of several."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from . import _printing as out
from ._cells import Cell, Collection
from ._rows import Row
from ._suite import Outcome
from ._tables import costs, footnotes, mean_lines, quality, system_name


def tell_one(
    cell: Cell, collection: Collection, run_path: Path | None, written: Sequence[Path]
) -> None:
    """The row of one system on one collection, and what stands behind it."""
    from ..measures import printed_name

    row = cell.row
    numbers = (row.terms_per_document, row.terms_per_query)
    out.table(
        [
            *("dataset", "system", *map(printed_name, row.measures)),
            *("hole@10", "terms/doc", "terms/query", "FLOPS"),
        ],
        [
            [
                row.dataset if row.split == "test" else f"{row.dataset} {row.split}",
                system_name(row),
                *("-" if value is None else f"{value:.4f}" for value in row.measures.values()),
                "-" if row.hole_at_10 is None else f"{row.hole_at_10:.2f}",
                *("-" if value is None else f"{value:.1f}" for value in numbers),
                "-" if row.flops is None else f"{row.flops:.2f}",
            ]
        ],
    )
    judged = sum(len(grades) for grades in collection.qrels.values())
    queries = out.counted(row.n_queries, "query")
    facts = f"{out.counted(judged, 'judgement')}, {row.n_unanswered} without any answer"
    if row.search_s is not None:
        facts += f", {out.duration(row.search_s)} for all of them"
    out.fact("evaluated", out.columns(queries, facts))
    if row.interval is not None:
        ends = f"{row.interval[0]:.4f} to {row.interval[1]:.4f}"
        out.fact("interval", out.columns(ends, "of nDCG@10, 95 % of 10,000 bootstrap means"))
    for words in row.convention:
        out.fact("convention", words)
    for words in row.contamination:
        out.fact("* seen", words)
    out.fact("dataset", out.columns(row.dataset_fingerprint, row.dataset))
    if row.encoder is not None:
        assert row.encoder_build is not None
        out.fact("encoder", out.columns(row.encoder_build, f"space {row.encoder_space}"))
    if row.index_fingerprint is not None:
        size = "" if row.index_bytes is None else f", {out.size(row.index_bytes)}"
        out.fact("index", out.columns(row.index_fingerprint, f"{row.index}{size}"))
    _print_pace(row)
    if run_path is not None:
        lines = f"{len(cell.whole_run().doc_ids):,} lines"
        out.fact("wrote", out.columns(str(run_path), lines))
    for path in written:
        out.fact("wrote", str(path))
    out.fact("command", row.command)
    if row.index is not None:
        out.next_step("lsr", "search", row.index, "your question")
    else:
        out.next_step("lsr", "evaluate", collection.asked)


def _print_pace(row: Row) -> None:
    rates = (
        ("documents", row.encode_docs_per_s),
        ("queries encoded", row.encode_queries_per_s),
        ("searches", row.search_queries_per_s),
    )
    known = [f"{rate:,.0f} {what}" for what, rate in rates if rate is not None]
    if known:
        out.fact("a second", ", ".join(known))


def tell_all(outcome: Outcome, command: str, written: Sequence[Path]) -> None:
    """The rows of several, with means, notes and costs."""
    if outcome.rows:
        found = outcome.means
        header, lines = quality(outcome.rows)
        out.table(header, [*lines, *mean_lines(found, header, outcome.rows)])
        for note in footnotes(outcome.rows, found):
            out.fact("note", note)
        out.table(*costs(outcome.rows))
    for path in written:
        out.fact("wrote", str(path))
    out.fact("command", command)
    if written:
        out.next_step("less", str(written[1]))
    else:
        out.next_step(*shlex.split(command), "--output", "results")
