"""What a build says of itself when it is done, line by line."""

from pathlib import Path
from typing import TYPE_CHECKING

from . import _printing as out

if TYPE_CHECKING:
    from index import BuildReport, Settings

SATURATED = 0.001
"""From this share of cut weights on, a line of its own says so."""


def tell_built(
    report: "BuildReport",
    index: Path,
    settings: "Settings",
    *,
    in_passages: bool,
    counts: bool,
    max_weight: float,
    changeable: bool,
    n_traced: int | None,
    n_shards: int | None,
) -> None:
    """Print the facts of the build of `index`.

    `counts` says that presence alone is kept; `changeable` that the encoder's `max_weight` is its
    user's to raise: what is shipped stays as it is.
    """
    from index.layout import REORDER_MINIMUM

    if report.n_resumed:
        out.fact("resumed", f"after {out.counted(report.n_resumed, 'document')}")
    per_text = report.n_postings / max(1, report.n_passages)
    rows = out.counted(report.n_docs, "document")
    if in_passages:
        rows += f" in {out.counted(report.n_passages, 'passage')}"
    out.fact(
        "encoded",
        out.columns(rows, f"{per_text:.0f} terms each on average, {out.duration(report.encode_s)}"),
    )
    if report.n_empty:
        out.fact(
            "empty",
            f"{out.counted(report.n_empty, 'document')} without any term, found by no search",
        )
    if report.n_postings < report.given_postings:
        out.fact(
            "pruned",
            f"kept {report.n_postings:,} of {out.counted(report.given_postings, 'posting')}, "
            f"{100 * report.mass_kept:.1f} % of the weight",
        )
    if counts:
        out.fact("binary", "presence alone: a score counts the terms that query and document share")
    else:
        out.fact(
            "rounded",
            out.columns(
                "to 8 bits",
                f"error {report.error_mean:.2g} on average, {report.error_max:.2g} at most; norms "
                f"{100 * report.norm_error:.2g} %; {100 * report.saturated_share:.2g} % saturated",
            ),
        )
    if report.saturated_share > SATURATED:
        out.fact(
            "saturated",
            f"{100 * report.saturated_share:.1f} % of the weights exceed max_weight "
            f"{max_weight:g} and count as that"
            + ("; raise it in its lsr.json and build again" if changeable else ""),
        )
    if settings.order == "bp" and not report.n_ordered and report.n_passages >= REORDER_MINIMUM:
        why = "--memory has no room to order documents: they lie as they came, searches are slower"
        out.fact("unordered", f"{why}; give more")
    if n_traced is not None:
        out.fact("traced", f"{out.counted(n_traced, 'text')}: which words gave expansion terms")
    out.fact(
        "wrote",
        out.columns(
            str(index),
            f"{out.size(report.n_bytes)}, {report.n_postings:,} postings, "
            f"{'match counts' if counts else '8-bit impacts'}, order {settings.order}, "
            f"{f'{n_shards} shards, ' if n_shards else ''}"
            f"{out.duration(report.total_s)}",
        ),
    )
