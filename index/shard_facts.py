"""What the shards of a set tell of themselves, put together as one index would tell it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .approximate import SearchReport
from .card import EncoderCard
from .check import CheckReport
from .columns import Kind
from .settings import Settings
from .store import Index

_AVERAGES = {
    "postings_per_passage": "n_passages",
    "saturated_share": "n_postings",
    "error_mean": "n_postings",
    "norm_error": "n_passages",
    "mass_kept": "given_postings",
}
"""Shares and averages of `info`, and of how many each is one."""


@dataclass(frozen=True, slots=True)
class Constants:
    """What all shards must agree on, and the commit that this one is at."""

    n_terms: int
    max_weight: float
    fields: dict[str, Kind]
    settings: Settings
    encoder: EncoderCard | None
    generation: int


def constants(index: Index) -> Constants:
    """Those of one shard."""
    return Constants(
        index.n_terms,
        index.max_weight,
        index.fields,
        index.settings,
        index.encoder,
        index.generation,
    )


def info(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`Index.info` of all: counts added, averages weighted, the greatest error.

    >>> one = {"n_docs": 1, "n_postings": 30, "error_mean": 1.0, "error_max": 2.0, "scale": 0.5}
    >>> two = {"n_docs": 2, "n_postings": 10, "error_mean": 3.0, "error_max": 4.0, "scale": 0.5}
    >>> info([one, two])
    {'n_docs': 3, 'n_postings': 40, 'error_mean': 1.5, 'error_max': 4.0, 'scale': 0.5}
    """
    told: dict[str, Any] = {}
    for name, value in facts[0].items():
        values = [one[name] for one in facts]
        if name in _AVERAGES:
            weights = [one[_AVERAGES[name]] for one in facts]
            told[name] = float(np.average(values, weights=weights)) if sum(weights) else value
        elif name == "error_max":
            told[name] = max(values)
        elif name.endswith(("_bytes", "_postings")) or (
            name.startswith("n_") and name != "n_terms"
        ):
            told[name] = sum(values)
        else:
            told[name] = value
    return told


def report(reports: Sequence[SearchReport], *, complete: bool) -> SearchReport:
    """The account of a search in several shards; exact when all of them are and none is missing."""
    used = {one.algorithm for one in reports}
    return SearchReport(
        mode=reports[0].mode,
        exact=complete and all(one.exact for one in reports),
        stopped=any(one.stopped for one in reports),
        algorithm=used.pop() if len(used) == 1 else "mixed",
        pages=sum(one.pages for one in reports),
        pages_scored=sum(one.pages_scored for one in reports),
        blocks=sum(one.blocks for one in reports),
        blocks_scored=sum(one.blocks_scored for one in reports),
        bound_skipped=max(one.bound_skipped for one in reports),
    )


def checked(reports: Sequence[CheckReport]) -> CheckReport:
    """What was read of all shards, and everything that is wrong."""
    return CheckReport(
        sum(one.n_documents for one in reports),
        sum(one.n_segments for one in reports),
        sum(one.n_bytes for one in reports),
        tuple(problem for one in reports for problem in one.problems),
    )


def added(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Sums by name.

    >>> added([{"a": 1}, {"a": 2, "b": 3}])
    {'a': 3, 'b': 3}
    """
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0) for part in parts) for name in names}


def frequencies(index: Index) -> tuple[npt.NDArray[np.int64], int]:
    """(n_terms,) in how many rows of a shard each term weighs something, and all its rows."""
    segments = [view.segment for view in index.refresh().views]
    counts = sum((s.document_frequencies() for s in segments), np.zeros(index.n_terms, np.int64))
    return counts, sum(segment.n_docs for segment in segments)


def term_probabilities(
    counted: Sequence[tuple[npt.NDArray[np.int64], int]],
) -> npt.NDArray[np.float64]:
    """(n_terms,) the share of all rows in which each term weighs something."""
    counts = np.sum([counts for counts, _ in counted], axis=0)
    shares: npt.NDArray[np.float64] = counts / max(1, sum(n for _, n in counted))
    return shares
