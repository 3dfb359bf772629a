"""What approximate search returns of the exact answer, on the sampled queries."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from lsr.types import SparseMatrix

from ..approximate import Approximate
from ..latency import overlap
from ..store import Index
from .case import Case
from .finding import Finding, graded, percent, skipped

TARGETS = (0.9, 0.95, 0.99)
WARN, FAIL = 0.02, 0.1
"""How far below its target an overlap may lie; a target is a budget measured elsewhere."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The mean share of the exact top k that a target found, how many answers its certificates
    call exact, and the share of pages it scored."""

    target: float
    overlap: float
    certified: float
    pages: float


def reached(
    index: Index, queries: SparseMatrix, *, targets: Sequence[float] = TARGETS, k: int = 10
) -> list[Reached]:
    """Search exactly and with every target."""
    exact = [hits.ranking.docids for hits in index.search_batch(queries, k)]
    found = []
    for target in targets:
        answers = index.search_batch(queries, k, approximate=Approximate(recall=target))
        reports = [hits.report for hits in answers]
        found.append(
            Reached(
                target,
                overlap([hits.ranking.docids for hits in answers], exact),
                float(np.mean([report.exact for report in reports])),
                float(np.mean([r.pages_scored / max(1, r.pages) for r in reports])),
            )
        )
    return found


def check_recall(case: Case) -> Finding:
    """Warn where --recall promises more than it keeps on this index."""
    queries = case.queries.rows
    if not queries.nnz:
        return skipped("recall", "no query has a term")
    found = reached(case.index, queries)
    short = max(one.target - one.overlap for one in found)
    shown = ", ".join(
        f"{one.overlap:.3f} for {one.target:g} ({percent(one.pages)} of the pages)" for one in found
    )
    return Finding(
        "recall",
        graded(short, warn=WARN, fail=FAIL),
        f"overlap@10 with the exact answer over {queries.shape[0]} queries: {shown}"
        + ("; so small an index is scored whole" if all(one.pages == 1 for one in found) else ""),
        "a target becomes a budget of pages by measurements on other collections; here it needs a "
        "larger one: ask for a higher target, or for the exact answer",
        ("lsr", "bench", case.place),
        {"reached": [asdict(one) for one in found]},
    )
