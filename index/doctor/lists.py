"""The heaviest posting lists, what they cost queries, and what the answer would be without them."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lsr.types import SparseMatrix

from ..latency import Clock, Timed, overlap, timed
from ..store import Index
from .case import SMALL, Case
from .finding import Finding, percent, several, skipped

N_LISTS = 10
WARN_WORK, WARN_OVERLAP = 0.5, 0.9
"""Half of the postings that queries touch, for at most a tenth of the answer."""


@dataclass(frozen=True, slots=True)
class HeavyLists:
    """`terms` have the longest lists. Times are microseconds of the searching thread's CPU, mean
    and 99th percentile over the queries that have one of them, with these terms and without."""

    terms: tuple[int, ...]
    longest: float
    """Share of the rows in the longest list."""
    postings: float
    """Share of all postings in these lists."""
    work: float
    """Share of the postings of all query terms, query by query, that lie in these lists."""
    n_queries: int
    """Queries that have one of them."""
    cpu_with: float
    cpu_without: float
    p99_with: float
    p99_without: float
    overlap: float
    """Of the top tens with and without them."""


def heavy_lists(
    index: Index,
    queries: SparseMatrix,
    frequencies: npt.NDArray[np.int64],
    n_rows: int,
    *,
    n_lists: int = N_LISTS,
    clocks: tuple[Clock, Clock] | None = None,
) -> HeavyLists:
    """Search the queries that have a heavy term, with it and without it; `clocks`: wall, CPU."""
    heavy = np.argsort(-frequencies, kind="stable")[:n_lists]
    heavy = heavy[frequencies[heavy] > 0]
    is_heavy = np.zeros(len(frequencies), np.bool_)
    is_heavy[heavy] = True
    touched = is_heavy[queries.indices]
    rows = np.repeat(np.arange(queries.shape[0]), np.diff(queries.indptr))
    work = frequencies[queries.indices]
    without = sparse.csr_array(queries.copy())
    without.data[touched] = 0
    without.eliminate_zeros()
    affected = np.intersect1d(rows[touched], rows[~touched])  # something must be left to ask
    times: dict[str, Any] = {}
    if clocks is not None:
        times = {"wall_clock": clocks[0], "cpu_clock": clocks[1]}

    def asked(matrix: SparseMatrix) -> Timed:
        return timed(lambda q: index.search(q, 10), [matrix[[i]] for i in affected], **times)

    cpu = np.zeros((2, 2))
    same = 1.0
    if len(affected):
        full, less = asked(queries), asked(without)
        for i, one in enumerate((full, less)):
            cpu[i] = one.cpu.mean(), np.percentile(one.cpu, 99)
        same = overlap(
            [hits.ranking.docids for hits in less.answers],
            [hits.ranking.docids for hits in full.answers],
        )
    return HeavyLists(
        tuple(heavy.tolist()),
        float(frequencies[heavy].max(initial=0) / max(1, n_rows)),
        float(frequencies[heavy].sum() / max(1, frequencies.sum())),
        float(work[touched].sum() / max(1, work.sum())),
        len(affected),
        cpu_with=float(cpu[0, 0]),
        cpu_without=float(cpu[1, 0]),
        p99_with=float(cpu[0, 1]),
        p99_without=float(cpu[1, 1]),
        overlap=same,
    )


def check_lists(case: Case) -> Finding:
    """Warn where a few terms cost most of a search and hardly change its answer."""
    if case.n_stored < SMALL:
        return skipped("lists", f"{case.n_stored:,} documents: too few for times to mean anything")
    found = heavy_lists(case.index, case.queries.rows, case.frequencies, case.n_stored)
    named = case.names(np.asarray(found.terms, np.int64))
    ill = found.work > WARN_WORK and found.overlap > WARN_OVERLAP and found.n_queries > 0
    cost = (
        f"; they are {percent(found.work)} of the postings that queries touch; the "
        f"{found.n_queries:,} with one of them take {found.cpu_with:.0f} us of CPU, without it "
        f"{found.cpu_without:.0f} (99th percentile {found.p99_with:.0f} and "
        f"{found.p99_without:.0f}), and {percent(found.overlap)} of their top 10 stay"
        if found.n_queries
        else "; no sampled query asks for them beside others"
    )
    return Finding(
        "lists",
        "warn" if ill else "ok",
        f"the {len(named)} longest lists hold {percent(found.postings)} of the postings, the "
        f"longest {percent(found.longest)} of the {case.rows_noun}: {several(named)}{cost}",
        "they cost much and rank little: leave out the lightest part of each list, or have "
        "training penalise frequent terms (df-flops)",
        (
            *("lsr", "index", case.corpus),
            case.variant("pruned"),
            *("--encoder", case.encoder_name, "--prune-postings", "0.8"),
        ),
        asdict(found) | {"terms": named},
    )
