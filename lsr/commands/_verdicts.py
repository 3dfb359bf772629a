"""What a referee found, and how `lsr referee` prints it."""

from dataclasses import dataclass
from typing import Any

from . import _printing as out


@dataclass(frozen=True)
class Report:
    """What one referee says of one index."""

    referee: str
    version: str
    agrees: bool
    n_queries: int
    n_identical: int
    n_same_up_to_ties: int
    overlap_at_10: float | None
    overlap_at_100: float | None
    """None where fewer documents were asked for."""
    largest_gap: float
    """Largest relative difference of a document's score; lucene-bm25's are brought to our unit."""
    first_difference: dict[str, Any] | None
    ndcg_at_10: float | None
    """By the collection's convention; None for an index of passages, which are ranked one by one
    here."""
    referee_ndcg_at_10: float | None
    seconds: float


def print_report(report: Report) -> None:
    """Whether it agrees, and the figures and the first difference that say so."""
    verdict = "agrees" if report.agrees else "differs"
    same = f"{report.n_identical:,} of {report.n_queries:,} rankings identical"
    if report.referee == "lucene":
        same += f", {report.n_same_up_to_ties:,} up to ties"
    took = f"{report.version}, {out.duration(report.seconds)}"
    out.fact(verdict, out.columns(report.referee, f"{same} ({took})"))
    overlaps = {10: report.overlap_at_10, 100: report.overlap_at_100}
    shown = [f"{share:.4f} at {cut}" for cut, share in overlaps.items() if share is not None]
    if shown:
        out.fact("overlap", out.columns(shown[0], "".join(shown[1:])).rstrip())
    out.fact("gap", out.columns(f"{report.largest_gap:.2g}", "largest relative gap of a score"))
    if report.first_difference is not None:
        where = report.first_difference
        sides = [
            "nothing" if one is None else f"{out.printable(one['doc_id'])} {one['score']:.10g}"
            for one in (where["ours"], where["theirs"])
        ]
        rank = f"rank {where['rank']}"
        what = f"of query {where['query_id']}: {sides[0]} here, {sides[1]} there"
        out.fact("first", out.columns(rank, what))
    if report.ndcg_at_10 is not None:
        here, there = f"{report.ndcg_at_10:.4f} here", f"{report.referee_ndcg_at_10:.4f} there"
        out.fact("nDCG@10", out.columns(here, there))
