"""Names what is wrong with a sample of term weights; `advice` says what to change.

Collapse comes in few forms, each known from public bug reports: nothing is active, everything is,
every text gets the same vector, or a handful of terms that every document has carry the score.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lsr.types import SparseMatrix

Illness = Literal["not-finite", "all-zero", "all-on", "constant", "stop-words"]
Side = Literal["documents", "queries"]

# Chosen far from what works: the smoke recipe ends with a mean cosine of .3, a sixth of its small
# vocabulary active and no empty document.
_EMPTY_SHARE = 0.1
_ACTIVE_SHARE = 0.5
_COSINE = 0.9
_FREQUENT = 0.5  # share of the documents that make a term a frequent one
_FEW, _CARRIED = 10, 0.5  # so few frequent terms with so much of the score are a shortcut


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, by a fixed name, and the numbers that say so."""

    illness: Illness
    evidence: str
    side: Side = "documents"

    @property
    def name(self) -> str:
        """What logs call it: the illness, and whose it is where that is not the documents'."""
        return self.illness if self.side == "documents" else f"{self.illness} {self.side}"


@dataclass(frozen=True, slots=True)
class Vitals:
    """Numbers of a sample of vectors of one side, with the terms that most of them have."""

    empty_share: float
    active_terms: float
    """Mean over the texts."""
    cosine: float
    """Mean over all pairs of texts that are not empty; 0 if there are fewer than two."""
    frequent_terms: int
    """Terms in more than half of the texts."""
    top_terms: npt.NDArray[np.int64]
    """The five terms in most texts, the commonest first."""
    top_shares: npt.NDArray[np.float64]
    """The shares of texts they are in."""


def vitals(rows: SparseMatrix) -> Vitals:
    """Measure a (texts, terms) sample; it must have a row."""
    frequency = np.bincount(rows.indices, minlength=rows.shape[1]) / rows.shape[0]
    top = np.argsort(-frequency, kind="stable")[:5]
    top = top[frequency[top] > 0]
    lengths = np.diff(rows.indptr)
    return Vitals(
        empty_share=float((lengths == 0).mean()),
        active_terms=float(lengths.mean()),
        cosine=_mean_cosine(rows),
        frequent_terms=int((frequency > _FREQUENT).sum()),
        top_terms=top,
        top_shares=frequency[top],
    )


def diagnose(
    documents: SparseMatrix,
    words: Callable[[Sequence[int]], list[str]],
    *,
    queries: SparseMatrix | None = None,
    encoded_queries: bool = False,
) -> list[Finding]:
    """What is wrong with (n, terms) weights, worst first; nothing if they are healthy.

    `queries` (n, terms) are queries that the documents answer, row by row; without them a document
    stands for its own query. With `encoded_queries` they come from a network, and are judged as
    the documents are; the few tokens that a table weighs are no sign of anything. `words` decodes
    term numbers.
    """
    sides: list[tuple[Side, SparseMatrix]] = [("documents", documents)]
    if queries is not None and encoded_queries:
        sides.append(("queries", queries))
    for side, rows in sides:
        if not np.isfinite(rows.data).all():
            share = 1 - float(np.isfinite(rows.data).mean())
            return [
                Finding("not-finite", f"{share:.0%} of the weights are no finite numbers", side)
            ]
    found = [finding for side, rows in sides for finding in _collapse(rows, side)]
    if not {"all-on", "constant"} & {finding.illness for finding in found}:
        shortcut = _shortcut(documents, documents if queries is None else queries, words)
        found += [shortcut] if shortcut is not None else []
    return found


def _collapse(rows: SparseMatrix, side: Side) -> list[Finding]:
    """Vectors that are empty, full or all alike."""
    one = {"documents": "document", "queries": "query"}[side]
    found: list[Finding] = []
    signs = vitals(rows)
    n_terms = rows.shape[1]
    if signs.empty_share > _EMPTY_SHARE:
        told = f"{signs.empty_share:.0%} of the {side} have no term at all"
        found.append(Finding("all-zero", told, side))
    if signs.active_terms > _ACTIVE_SHARE * n_terms:
        told = f"{signs.active_terms:,.0f} of {n_terms:,} terms are active in the mean {one}"
        found.append(Finding("all-on", told, side))
    if signs.cosine > _COSINE:
        told = f"two {side} have a cosine of {signs.cosine:.2f} on average"
        found.append(Finding("constant", told, side))
    return found


def _mean_cosine(rows: SparseMatrix) -> float:
    """Over all pairs of rows that are not empty: (|sum of unit rows|^2 - n) / (n (n - 1))."""
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1), np.float64).ravel())
    full = lengths > 0
    n = int(full.sum())
    if n < 2:
        return 0.0
    total = (1 / lengths[full]) @ rows[full].astype(np.float64)
    return float((total @ total - n) / (n * (n - 1)))


def _shortcut(
    documents: SparseMatrix, queries: SparseMatrix, words: Callable[[Sequence[int]], list[str]]
) -> Finding | None:
    frequency = np.bincount(documents.indices, minlength=documents.shape[1]) / documents.shape[0]
    carried = np.asarray(queries.multiply(documents).sum(axis=0), np.float64).ravel()
    total = carried.sum()
    if documents.shape[0] < 2 or total <= 0:
        return None
    common = np.flatnonzero(frequency > _FREQUENT)
    few = common[np.argsort(-carried[common], kind="stable")[:_FEW]]
    few = few[carried[few] > 0]
    share = carried[few].sum() / total
    if share <= _CARRIED:
        return None
    named = ", ".join(words([int(term) for term in few[:5]]))
    return Finding(
        "stop-words",
        f"{share:.0%} of the score come from {len(few)} terms that most documents have: {named}",
    )
