"""Does another engine, loaded from an export, rank as our exact search does?"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from lsr.encoders import SparseEncoder
from lsr.errors import UsageError
from lsr.progress import bar
from lsr.types import SparseMatrix, canonical

from ..live import positions_in
from .engines import ENGINES
from .records import row_ids
from .writing import facts_of

if TYPE_CHECKING:
    from ..store import Index

TERMS = 8
"""Of a sampled query: as many as an inference-free one has."""
SEED = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far two engines agree.

    `overlap` is the mean share of our top k that theirs holds, where documents of the score at the
    cut count as one another; `n_identical` counts queries whose scores are equal place by place;
    `gap` is the largest relative difference of a score at the same place. Where an engine has a
    unit of its own, scores are compared as shares of the best.
    """

    engine: str
    version: str
    n_queries: int
    k: int
    overlap: float
    n_identical: int
    gap: float


def verify_export(
    index: "Index",
    folder: Path,
    target: str,
    encoder: SparseEncoder | None,
    *,
    n_queries: int,
    k: int,
) -> Verdict:
    """Load the export in `folder` into its engine, ask both sides the same integers, and compare.

    Queries are the heaviest terms of documents drawn by a fixed seed. Raises `MissingExtra` where
    the engine is not installed.
    """
    name = index.path.name.removesuffix(".index")
    facts = facts_of(index, encoder, name=name, text="a question")
    vectors = sampled_queries(index, n_queries)
    integers = [
        index.rounded(vectors.indices[a:b], vectors.data[a:b])
        for a, b in pairwise(vectors.indptr.tolist())
    ]
    names = row_ids(index)
    overlaps, identical, gaps = [], 0, [0.0]
    with tempfile.TemporaryDirectory() as scratch:
        engine = ENGINES[target](folder, facts, Path(scratch))
        try:
            asked = [(one.terms.tolist(), one.weights.tolist()) for one in integers]
            answers = engine.search(asked, k)
            counted = bar(answers, total=len(asked), unit="queries", desc="verified")
            for row, theirs in enumerate(counted):
                hits = index.search(vectors[[row]], k, collapse=False)
                ours = [names[docid] for docid in hits.ranking.docids.tolist()]
                mine = hits.ranking.scores.astype(np.float64)
                scores = np.array([score for _, score in theirs], np.float64)
                if engine.rescales and len(mine) and len(scores):
                    scores *= mine[0] / scores[0]
                overlaps.append(shared(dict(zip(ours, mine, strict=True)), dict(theirs)))
                identical += len(mine) == len(scores) and bool(np.array_equal(mine, scores))
                n = min(len(mine), len(scores))
                gaps.append(float(np.max(np.abs(mine[:n] - scores[:n]) / mine[:n], initial=0)))
        finally:
            engine.close()
    return Verdict(
        engine.name,
        engine.version,
        len(integers),
        k,
        float(np.mean(overlaps)),
        identical,
        max(gaps),
    )


def sampled_queries(index: "Index", n: int) -> SparseMatrix:
    """(n, n_terms) queries: the heaviest terms of documents drawn by a fixed seed."""
    random = np.random.default_rng(SEED)
    rows: list[SparseMatrix] = []
    for _, part in index.parts():
        for view in part.refresh().views:
            live = positions_in(view.live, view.segment.n_docs)
            rows.append(view.segment.vectors(live[np.argsort(view.segment.docids[live])]))
    everything: SparseMatrix = sparse.csr_array(sparse.vstack(rows, "csr"))
    filled = np.flatnonzero(np.diff(everything.indptr))
    if not len(filled):
        raise UsageError(f"{index.path}: no document has a term, so there is nothing to compare")
    chosen = random.choice(filled, size=n, replace=n > len(filled))
    cut = []
    for row in chosen.tolist():
        a, b = int(everything.indptr[row]), int(everything.indptr[row + 1])
        best = np.sort(a + np.argsort(-everything.data[a:b], kind="stable")[:TERMS])
        one = (everything.data[best], everything.indices[best], np.array([0, len(best)]))
        cut.append(sparse.csr_array(one, shape=(1, index.n_terms)))
    return canonical(sparse.csr_array(sparse.vstack(cut, "csr")), n_terms=index.n_terms)


def shared(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    """The share of our documents that theirs holds; ties at the cut stand for one another.

    >>> shared({"a": 3, "b": 1}, {"a": 3, "c": 1}), shared({"a": 3, "b": 1}, {"c": 5, "a": 3})
    (1.0, 0.5)
    """
    if not ours:
        return 1.0
    common = ours.keys() & theirs.keys()
    cut = min(ours.values())
    tied_ours = sum(score == cut for row, score in ours.items() if row not in common)
    tied_theirs = sum(score == cut for row, score in theirs.items() if row not in common)
    return (len(common) + min(tied_ours, tied_theirs)) / len(ours)
