"""How many terms documents and queries have: too many are slow, too few find little."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from lsr.types import SparseMatrix

from .case import Case
from .finding import Finding, Level, graded, worst

WARN_DOCUMENT, FAIL_DOCUMENT = 400, 1_500
"""Mean terms; published SPLADE document vectors have some 120 to 250."""
WARN_QUERY, FAIL_QUERY = 100, 400
"""Mean terms; published SPLADE queries have 20 to 45, inference-free ones fewer than ten."""
FEW_DOCUMENT, FEW_QUERY = 4, 1.5
"""Mean terms below which a vector says less than a title does."""


@dataclass(frozen=True, slots=True)
class Active:
    """Terms a row, over the rows that have any."""

    mean: float
    p10: float
    p50: float
    p90: float
    most: int


def active(vectors: SparseMatrix) -> Active:
    """The distribution over rows of how many terms they have."""
    lengths: npt.NDArray[np.int64] = np.diff(vectors.indptr)
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return Active(0.0, 0.0, 0.0, 0.0, 0)
    p10, p50, p90 = (float(x) for x in np.percentile(lengths, [10, 50, 90]))
    return Active(float(lengths.mean()), p10, p50, p90, int(lengths.max()))


def check_density(case: Case) -> Finding:
    """Warn of vectors that are no longer sparse, or hardly there."""
    documents, queries = active(case.vectors), active(case.queries.rows)
    levels: list[Level] = [
        graded(documents.mean, warn=WARN_DOCUMENT, fail=FAIL_DOCUMENT),
        graded(queries.mean, warn=WARN_QUERY, fail=FAIL_QUERY),
        graded(-documents.mean, warn=-FEW_DOCUMENT) if documents.most else "ok",
        graded(-queries.mean, warn=-FEW_QUERY) if queries.most else "ok",
    ]
    thin = "warn" in levels[2:]
    return Finding(
        "density",
        worst(*levels),
        f"{case.rows_noun} have {_shown(documents)}; queries {_shown(queries)}",
        "vectors this thin find only what they name; ask for more terms a document in training"
        if thin
        else "the cost of a search grows with query terms times their lists; cap them when "
        "indexing, or state terms a document in training",
        (("lsr", "search", case.place, "your question", "--explain") if thin else _pruned(case)),
        {"documents": asdict(documents), "queries": asdict(queries)},
    )


def _pruned(case: Case) -> tuple[str, ...]:
    encoder = ("--encoder", case.encoder_name)
    return ("lsr", "index", case.corpus, case.variant("pruned"), *encoder, "--prune-terms", "128")


def _shown(one: Active) -> str:
    spread = f"({one.p10:.0f} to {one.p90:.0f} for eight in ten, at most {one.most:,})"
    return f"{one.mean:.1f} terms on average {spread}"
