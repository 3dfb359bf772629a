"""Dead dimensions, which no document uses, and terms that are in nearly every document."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from lsr.encoders import words_part

from .case import SMALL, Case
from .finding import Finding, graded, percent, several, worst

NEARLY_ALL = 0.9
WARN_EVERYWHERE, FAIL_EVERYWHERE = 0.02, 0.2
"""Shares of all postings in terms of nearly every document, which tell no two apart."""
WARN_DEAD, FAIL_DEAD = 0.95, 0.99
"""A corpus of one field leaves half to three quarters of BERT's vocabulary unused; an encoder that
collapsed leaves nearly all."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How the vocabulary is used; `everywhere` are terms of nearly every row, longest first."""

    n_terms: int
    n_rows: int
    dead: float
    everywhere: tuple[int, ...]
    postings_everywhere: float
    """Share of all postings that lie in those lists."""


def vocabulary(frequencies: npt.NDArray[np.int64], n_rows: int) -> Vocabulary:
    """From (n_terms,) counts of rows.

    >>> vocabulary(np.array([9, 3, 0, 0]), 9)
    Vocabulary(n_terms=4, n_rows=9, dead=0.5, everywhere=(0,), postings_everywhere=0.75)
    """
    order = np.argsort(-frequencies, kind="stable")
    everywhere = order[frequencies[order] > NEARLY_ALL * n_rows] if n_rows else order[:0]
    return Vocabulary(
        len(frequencies),
        n_rows,
        float((frequencies == 0).mean()) if len(frequencies) else 0.0,
        tuple(everywhere.tolist()),
        float(frequencies[everywhere].sum() / max(1, frequencies.sum())),
    )


def check_vocabulary(case: Case) -> Finding:
    """Warn where most terms are never used, or some always."""
    frequencies = case.frequencies
    if (words := words_part(case.encoder)) is not None:  # buckets wait for words of later documents
        first, bm25 = words
        frequencies = frequencies[: first + len(bm25.statistics.terms)]
    found = vocabulary(frequencies, case.n_stored)
    few = case.n_stored < SMALL
    named = case.names(np.asarray(found.everywhere[:8], np.int64))
    dead = "ok" if few else graded(found.dead, warn=WARN_DEAD, fail=FAIL_DEAD)
    level = worst(
        dead,
        graded(found.postings_everywhere, warn=WARN_EVERYWHERE, fail=FAIL_EVERYWHERE),
    )
    return Finding(
        "vocabulary",
        level,
        f"{percent(found.dead)} of {found.n_terms:,} terms in no document"
        + (f" (of {case.n_stored:,}: too few to judge that)" if few else "")
        + f", {len(found.everywhere)} in more than {percent(NEARLY_ALL)} of them, with "
        f"{percent(found.postings_everywhere)} of the postings"
        + (f": {several(named)}" if named else ""),
        "a term that no document has cannot be found, and one that all have costs a posting in "
        "each and ranks nothing; a penalty such as df-flops in training thins the latter out",
        ("lsr", "bench", case.place),
        asdict(found) | {"everywhere": named},
    )
