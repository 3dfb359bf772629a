"""A row of a results table, and the mean of rows: only of systems that answered the same sets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..conventions import CQADUPSTACK


@dataclass(frozen=True)
class Row:
    """All that a results table needs to know about one evaluation."""

    dataset: str
    split: str
    system: str
    n_queries: int
    n_unanswered: int
    measures: dict[str, float | None]
    """None where the cutoff is beyond `k`: what was not searched for was not measured."""
    command: str
    version: str
    dataset_fingerprint: str
    encoder: str | None = None
    encoder_space: str | None = None
    encoder_build: str | None = None
    index: str | None = None
    index_fingerprint: str | None = None
    n_docs: int | None = None
    terms_per_document: float | None = None
    terms_per_query: float | None = None
    flops: float | None = None
    """Multiply-adds an average query costs against an average document: the sum over terms of the
    shares of queries and of documents that have the term (arXiv 2004.05665)."""
    search_s: float | None = None
    """Seconds for all queries, from text to ranking."""
    hole_at_10: float | None = None
    """Share of the first ten documents that nobody has judged; measures call them irrelevant."""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval of the mean nDCG@10 (percentiles of 10,000 resamples)."""
    convention: tuple[str, ...] = ()
    """What was done as the collection's publishers do it, beyond what is done everywhere."""
    relevant_from: int = 1
    contamination: tuple[str, ...] = ()
    """Why the figures are not zero-shot, as far as the system's cards tell."""
    index_bytes: int | None = None
    encode_docs_per_s: float | None = None
    encode_queries_per_s: float | None = None
    search_queries_per_s: float | None = None
    """Rankings a second, all threads at work; without encoding where `encode_queries_per_s` is."""
    part_of: str | None = None
    k: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else the system says of itself."""


@dataclass(frozen=True)
class Mean:
    """The plain mean of one system's measures over collections, each weighing the same."""

    system: str
    over: str
    measures: dict[str, float | None]
    n_collections: int
    n_marked: int
    """How many of the rows have a mark for contamination."""


@dataclass(frozen=True)
class Means:
    """Means of each system, or the reasons why there are none."""

    rows: tuple[Mean, ...] = ()
    refused: tuple[str, ...] = ()


def means(rows: Sequence[Row]) -> Means:
    """Average what may be averaged: every system over the same collections, measured alike.

    The twelve parts of CQADupStack count as one collection, whose own mean comes first. A mean over
    unequal sets would compare systems by what they were spared.
    """
    reasons = [*_unequal(rows), *_incomplete(rows)]
    if reasons:
        return Means(refused=tuple(reasons))
    found: list[Mean] = []
    for system, own in _by(rows, "system").items():
        parts = [row for row in own if row.part_of]
        others = [row for row in own if not row.part_of]
        collections = [row.measures for row in others]
        if parts:
            found.append(_mean(system, "cqadupstack", [row.measures for row in parts], parts))
            collections.append(found[-1].measures)
        if len(collections) > 1:
            found.append(_mean(system, "mean", collections, own))
    return Means(rows=tuple(found))


def _mean(
    system: str, over: str, values: list[dict[str, float | None]], rows: Sequence[Row]
) -> Mean:
    averaged: dict[str, float | None] = {}
    for name in values[0]:
        known = [value for one in values if (value := one[name]) is not None]
        averaged[name] = sum(known) / len(known) if len(known) == len(values) else None
    marked = sum(bool(row.contamination) for row in rows)
    return Mean(system, over, averaged, len(values), marked)


def _unequal(rows: Sequence[Row]) -> Iterable[str]:
    systems = _by(rows, "system")
    for dataset, answered in _by(rows, "dataset").items():
        lacking = [name for name in systems if name not in {row.system for row in answered}]
        if lacking:
            yield f"{', '.join(lacking)} has no result on {dataset}"
        for what, values in (
            ("splits", {row.split for row in answered}),
            ("numbers of queries", {row.n_queries for row in answered}),
            ("fingerprints", {row.dataset_fingerprint for row in answered}),
            ("documents a query", {row.k for row in answered}),
            ("grades that count as relevant", {row.relevant_from for row in answered}),
        ):
            if len(values) > 1:
                yield f"{dataset} was measured with different {what}: {_listed(values)}"
        if len({tuple(row.measures) for row in answered}) > 1:
            yield f"{dataset} was measured by different measures"
    if len({tuple(row.measures) for row in rows}) > 1:
        yield "not every collection was measured by the same measures"


def _incomplete(rows: Sequence[Row]) -> Iterable[str]:
    parts = {row.dataset for row in rows if row.part_of == "cqadupstack"}
    if parts and len(parts) < len(CQADUPSTACK):
        yield f"{len(parts)} of CQADupStack's {len(CQADUPSTACK)} parts are no CQADupStack"


def _by(rows: Iterable[Row], name: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, name), []).append(row)
    return groups


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, values)))
