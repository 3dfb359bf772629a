"""Systems compared query by query: deltas with their tests, per collection and over collections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import DatasetError, UsageError
from ..measures import evaluate
from ..significance import Paired, holm, interval_of_mean, paired
from ..types import Run
from ._judged import Judged

if TYPE_CHECKING:
    from ._sides import Side

Values = npt.NDArray[np.float64]
PerQuery = Mapping[str, Mapping[str, float]]
"""measure -> query_id -> value, for every judged query."""


@dataclass(frozen=True)
class Row:
    """One system against the baseline on one collection by one measure.

    The `holm` values are corrected over all rows of the comparison, each test by itself.
    """

    dataset: str
    measure: str
    system: str
    paired: Paired
    holm_randomisation: float = 1.0
    holm_t: float = 1.0


@dataclass(frozen=True)
class Mean:
    """Mean over collections, each weighing the same (the parts of one together as one)."""

    measure: str
    system: str
    mean_a: float
    mean_b: float
    delta: float
    low: float
    high: float
    n_collections: int
    wins: int
    """Collections on which the system's mean is above the baseline's; parts count as one each."""
    ties: int
    losses: int


@dataclass(frozen=True)
class Compared:
    """One collection: every side's value of every query, the baseline first."""

    judged: Judged
    values: dict[str, PerQuery]
    """By system."""
    places: dict[str, str]
    notes: tuple[str, ...] = ()

    def deltas(self, measure: str, baseline: str, system: str) -> dict[str, float]:
        """query_id -> value of the system minus that of the baseline, worst first."""
        a, b = self.values[baseline][measure], self.values[system][measure]
        return dict(sorted(((q, b[q] - a[q]) for q in a), key=lambda pair: pair[1]))


def compared(
    judged: Judged, sides: Sequence["Side"], measures: Sequence[str], *, missing: str
) -> Compared:
    """Measure every side on the same judged queries.

    `missing` says what to do about queries that a plain run file does not answer while others do:
    `refuse` them, count them as `zero`, or compare the `shared` ones alone.
    """
    answered = {
        side.name: set(judged.qrels) if side.asked_all else set(side.run) & set(judged.qrels)
        for side in sides
    }
    shared = set.intersection(*answered.values())
    notes = []
    qrels = judged.qrels
    if any(asked != shared for asked in answered.values()):
        counts = ", ".join(f"{name} {len(asked)}" for name, asked in answered.items())
        lacking, query_id = next(
            (name, min(set().union(*answered.values()) - asked))
            for name, asked in answered.items()
            if asked != set().union(*answered.values())
        )
        what = (
            f"{judged.name}: of {len(qrels)} judged queries the runs answer {counts}; {lacking} "
            f"lacks {query_id!r}"
        )
        if missing == "refuse":
            raise UsageError(
                f"{what}. Means over unequal sets do not compare: --missing zero counts what a run "
                "lacks as 0, --missing shared compares the queries that all answer"
            )
        if missing == "shared":
            qrels = {query_id: grades for query_id, grades in qrels.items() if query_id in shared}
            if len(qrels) < 2:
                raise UsageError(f"{what}. They share {len(qrels)}, wanted at least 2")
        notes.append(f"{what}: {'counted as 0' if missing == 'zero' else f'{len(qrels)} compared'}")
    notes += _unequal_depths(judged, sides)
    for side in sides:
        if side.contamination:
            why = "; ".join(side.contamination)
            notes.append(f"{side.name} on {judged.name} is not zero-shot: {why}")
    if len(qrels) < 2:
        raise DatasetError(f"{judged.name}: {len(qrels)} judged query; a test needs at least 2")
    relevant_from = judged.convention.relevant_from
    values = {
        side.name: evaluate(side.run, qrels, measures, relevant_from=relevant_from).per_query
        for side in sides
    }
    return Compared(judged, dict(values), {side.name: side.place for side in sides}, tuple(notes))


def tested(
    collections: Sequence[Compared], measures: Sequence[str], *, resamples: int, seed: int
) -> list[Row]:
    """A row for each collection, measure and system; p-values corrected over all of them."""
    rows = []
    for one in collections:
        baseline, *others = one.values
        for measure in measures:
            for system in others:
                a, b = (_vector(one, name, measure) for name in (baseline, system))
                result = paired(a, b, resamples=resamples, seed=seed)
                rows.append(Row(one.judged.name, measure, system, result))
    by_randomisation = holm([row.paired.p_randomisation for row in rows])
    by_t = holm([row.paired.p_t for row in rows])
    return [
        replace(row, holm_randomisation=p, holm_t=q)
        for row, p, q in zip(rows, by_randomisation, by_t, strict=True)
    ]


def means(
    collections: Sequence[Compared], measures: Sequence[str], *, resamples: int, seed: int
) -> list[Mean]:
    """Means over collections, none where there is only one. Every side answered every one."""
    if len(collections) < 2:
        return []
    groups = [one.judged.convention.part_of or one.judged.name for one in collections]
    n_groups = len(set(groups))
    weights = [1 / n_groups / groups.count(group) for group in groups]
    baseline, *others = collections[0].values
    found = []
    for measure in measures:
        for system in others:
            a = [_vector(one, baseline, measure) for one in collections]
            b = [_vector(one, system, measure) for one in collections]
            deltas = [y - x for x, y in zip(a, b, strict=True)]
            low, high = interval_of_mean(deltas, weights, resamples=resamples, seed=seed)
            centres = np.array([values.mean() for values in deltas])
            mean_a, mean_b = (
                sum(w * float(values.mean()) for w, values in zip(weights, side, strict=True))
                for side in (a, b)
            )
            signs = [int((centres > 0).sum()), int((centres == 0).sum()), int((centres < 0).sum())]
            found.append(
                Mean(measure, system, mean_a, mean_b, mean_b - mean_a, low, high, n_groups, *signs)
            )
    return found


def _vector(one: Compared, system: str, measure: str) -> Values:
    """Values in the order of the baseline's queries, the same for every system."""
    order = next(iter(one.values.values()))[measure]
    row = one.values[system][measure]
    return np.array([row[query_id] for query_id in order])


def _unequal_depths(judged: Judged, sides: Sequence["Side"]) -> list[str]:
    """A note where one run is cut earlier than another: deep measures then differ by the cut."""
    depths = {side.name: _depth(side.run) for side in sides}
    if min(depths.values()) == max(depths.values()) or not _is_cut(sides, depths):
        return []
    listed = ", ".join(f"{name} {n:,}" for name, n in depths.items())
    return [f"{judged.name}: documents a query differ ({listed}); measures deeper are unfair"]


def _depth(run: Run) -> int:
    return int(np.diff(run.offsets).max(initial=0))


def _is_cut(sides: Sequence["Side"], depths: Mapping[str, int]) -> bool:
    """Whether the shallowest run ends at its depth for most queries, as a cut run does."""
    shallow = min(sides, key=lambda side: depths[side.name])
    lengths = np.diff(shallow.run.offsets)
    return bool((lengths == depths[shallow.name]).mean() > 0.5) if len(lengths) else False
