"""How much effectiveness costs how many comparisons: samplers x aggregations x budgets, one model.

The study of arXiv 2207.04470: the model is asked all k² - k comparisons once, and every sampler's
comparisons are looked up among them. Differences are therefore due to the sample alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..measures import evaluate
from ..progress import Bar, bar
from ..types import Qrels, Run
from .aggregation import AGGREGATIONS, Aggregation, aggregate, kwiksort_asking, rank
from .preferences import PreferenceModel, Preferences
from .sampling import SAMPLERS, Sampler, sample_pairs

BUDGETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 1 / 3, 0.5, 0.75, 1.0)
"""Shares of the comparisons; every document has at least one, so the least is 1 / (k - 1)."""


@dataclass(frozen=True)
class Point:
    """One sampler and aggregation at one budget."""

    sampler: Sampler
    aggregation: Aggregation
    budget: float
    comparisons: float
    """A query, on average."""
    share: float
    """Of the k² - k comparisons of a query, on average."""
    value: float
    """The measure, a mean over queries and repetitions."""
    loss: float
    """What is lost against all comparisons of the same aggregation."""
    loss_low: float
    loss_high: float
    """95 % interval of the loss by a paired t test over queries; no interval at budget 1."""


@dataclass(frozen=True)
class Study:
    """The points, and what they are to be seen against."""

    measure: str
    depth: int
    n_queries: int
    model: str
    first_stage: float
    complete: dict[Aggregation, float]
    """By aggregation, with all comparisons."""
    asking: tuple[float, float]
    """Share and value of KwikSort when it asks for what it compares, instead of a sample."""
    points: tuple[Point, ...]

    def enough(self, sampler: Sampler, aggregation: Aggregation, *, within: float = 0.01) -> float:
        """The least share from which on no larger one loses more than `within` of the value."""
        complete = self.complete[aggregation]
        enough = 1.0
        for point in sorted(self.of(sampler, aggregation), key=lambda point: -point.budget):
            if point.value < complete * (1 - within):
                break
            enough = point.share
        return enough

    def of(self, sampler: Sampler, aggregation: Aggregation) -> list[Point]:
        """The points of one curve, by budget."""
        return [p for p in self.points if (p.sampler, p.aggregation) == (sampler, aggregation)]


def study_sparsity(
    run: Run,
    queries: Mapping[str, str],
    texts: Mapping[str, str],
    qrels: Qrels,
    model: PreferenceModel,
    *,
    depth: int = 50,
    budgets: Sequence[float] = BUDGETS,
    repeats: int = 5,
    measure: str = "nDCG@10",
    symmetric: bool = False,
    progress: bool = False,
) -> Study:
    """Re-rank the judged queries of `run` in every way.

    What has chance in it, a random sample or KwikSort's pivots, is repeated with `repeats` seeds
    and averaged. Arguments are those of `lsr.reranking.rerank`.
    """
    judged = [query_id for query_id in run if query_id in qrels and len(run[query_id])]
    qrels = {query_id: qrels[query_id] for query_id in judged}
    heads = {q: [doc_id for doc_id, _ in run.ranked(q)][:depth] for q in judged}
    asked = {}
    bar_of: Bar[str] = bar(judged, unit="queries", desc="comparing", quiet=not progress or None)
    with bar_of:
        for query_id in bar_of:
            asked[query_id] = complete_preferences(
                model, queries[query_id], [texts[d] for d in heads[query_id]]
            )

    def measured(
        sampler: Sampler, aggregation: Aggregation, budget: float
    ) -> tuple[npt.NDArray[np.float64], float, float]:
        """The measure of each query, and the comparisons and their share, averaged over seeds."""
        by_chance = (sampler == "random" and budget < 1) or aggregation == "kwiksort"
        values, made, shares = [], [], []
        for seed in range(repeats if by_chance else 1):
            orders = {}
            for query_id, everything in asked.items():
                n = everything.n_documents
                pairs = sample_pairs(n, sampler, budget, seed=seed, symmetric=symmetric)
                scores = aggregate(everything.among(pairs), aggregation, seed=seed)
                orders[query_id] = [heads[query_id][i] for i in rank(scores)]
                made.append(len(pairs))
                shares.append(len(pairs) / max(1, n * (n - 1)))
            got = evaluate(_run(orders), qrels, [measure]).per_query[measure]
            values.append([got[query_id] for query_id in judged])
        return np.mean(values, axis=0), float(np.mean(made)), float(np.mean(shares))

    complete = {how: measured("exhaustive", how, 1.0)[0] for how in AGGREGATIONS}
    points = []
    ways = [(s, a, b) for s in SAMPLERS for a in AGGREGATIONS for b in sorted(set(budgets))]
    done: Bar[tuple[Sampler, Aggregation, float]] = bar(
        ways, unit="rankings", desc="sampling", quiet=not progress or None
    )
    with done:
        for sampler, aggregation, budget in done:
            got, comparisons, share = measured(sampler, aggregation, budget)
            losses = complete[aggregation] - got
            low, high = _interval(losses)
            points.append(
                Point(
                    sampler,
                    aggregation,
                    budget,
                    comparisons,
                    share,
                    float(got.mean()),
                    float(losses.mean()),
                    low,
                    high,
                )
            )
    return Study(
        measure,
        depth,
        len(judged),
        model.name,
        evaluate(_run(heads), qrels, [measure]).means[measure],
        {how: float(values.mean()) for how, values in complete.items()},
        _asking(asked, heads, qrels, measure, repeats),
        tuple(points),
    )


def _asking(
    asked: Mapping[str, Preferences],
    heads: Mapping[str, Sequence[str]],
    qrels: Qrels,
    measure: str,
    repeats: int,
) -> tuple[float, float]:
    shares, values = [], []
    for seed in range(repeats):
        orders = {}
        for query_id, everything in asked.items():
            n = everything.n_documents
            scores, made = kwiksort_asking(n, everything.answers, seed=seed)
            orders[query_id] = [heads[query_id][i] for i in rank(scores)]
            shares.append(made / max(1, n * (n - 1)))
        values.append(evaluate(_run(orders), qrels, [measure]).means[measure])
    return float(np.mean(shares)), float(np.mean(values))


def complete_preferences(model: PreferenceModel, query: str, texts: Sequence[str]) -> Preferences:
    """All k² - k comparisons of the texts."""
    pairs = sample_pairs(len(texts), "exhaustive", 1.0)
    first, second = ([texts[i] for i in column] for column in pairs.T)
    return Preferences(len(texts), pairs, model.prefer(query, first, second))


def _run(orders: Mapping[str, Sequence[str]]) -> Run:
    return Run.from_rows(
        (q, ids, -np.arange(len(ids), dtype=np.float32)) for q, ids in orders.items()
    )


def _interval(losses: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean; the mean itself where nothing differs or there is one query."""
    if len(losses) < 2 or not losses.std():
        return float(losses.mean()), float(losses.mean())
    low, high = stats.t.interval(0.95, len(losses) - 1, loc=losses.mean(), scale=stats.sem(losses))
    return float(low), float(high)
