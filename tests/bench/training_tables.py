"""Tables of trained systems: one row a system, one row an ablation with mean and deviation."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Run:
    """One trained encoder and what it scored, by collection."""

    name: str
    seed: int
    steps: int
    rows: Mapping[str, Mapping[str, float]]
    train_s: float
    last_log: Mapping[str, Any]


def system_table(runs: Sequence[Run], collections: Sequence[str]) -> str:
    """Markdown: nDCG@10 / R@100 a collection, then active terms, FLOPS and minutes."""
    heads = ["system", *(f"{name} nDCG@10 / R@100" for name in collections)]
    heads += ["terms a document", "terms a query", "FLOPS", "steps", "minutes"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for run in runs:
        known = [run.rows[name] for name in collections if name in run.rows]
        cells = [run.name]
        for name in collections:
            row = run.rows.get(name)
            cells.append("-" if row is None else f"{_n(row['ndcg'])} / {_n(row['recall'])}")
        cells += [
            f"{statistics.fmean(row['document_terms'] for row in known):.0f}",
            f"{statistics.fmean(row['query_terms'] for row in known):.0f}",
            f"{statistics.fmean(row['flops'] for row in known):.2f}",
            str(run.steps),
            f"{run.train_s / 60:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ablation_table(runs: Sequence[Run]) -> str:
    """Markdown: both arms of each question, mean nDCG@10 over its collections, and the verdict."""
    by_question: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        question, _, arm = run.name.partition("/")
        by_question.setdefault(question, {}).setdefault(arm, []).append(run)
    heads = ["question", "arm", "nDCG@10, mean ± deviation", "seeds", "terms", "FLOPS", "verdict"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for question, arms in by_question.items():
        reference: list[float] | None = None
        for arm, found in arms.items():
            scores = [mean_score(run) for run in found]
            terms = statistics.fmean(
                row["document_terms"] for run in found for row in run.rows.values()
            )
            flops = statistics.fmean(row["flops"] for run in found for row in run.rows.values())
            said = "" if reference is None else verdict(reference, scores)
            reference = scores if reference is None else reference
            cells = [question, arm, spread(scores), str(len(scores)), f"{terms:.0f}"]
            lines.append("| " + " | ".join([*cells, f"{flops:.2f}", said]) + " |")
    return "\n".join(lines)


def mean_score(run: Run) -> float:
    """Mean nDCG@10 over the collections that it was measured on."""
    return statistics.fmean(row["ndcg"] for row in run.rows.values())


def spread(scores: Sequence[float]) -> str:
    """Mean and standard deviation; one score has no deviation."""
    mean = statistics.fmean(scores)
    return _n(mean) if len(scores) < 2 else f"{_n(mean)} ± {_n(statistics.stdev(scores))}"


def verdict(reference: Sequence[float], other: Sequence[float]) -> str:
    """What the other arm gains over the first: a difference under two deviations is none.

    The deviation is that of the difference of single runs, the root of the summed variances.

    >>> verdict([0.50, 0.51, 0.49], [0.60, 0.61, 0.59])
    '+.1000'
    >>> verdict([0.50, 0.51, 0.49], [0.51, 0.52, 0.50])
    'none'
    """
    if min(len(reference), len(other)) < 2:
        return "one seed"
    difference = statistics.fmean(other) - statistics.fmean(reference)
    deviation = (statistics.variance(reference) + statistics.variance(other)) ** 0.5
    if abs(difference) < 2 * deviation:
        return "none"
    return f"{'+' if difference > 0 else '-'}{_n(abs(difference))}"


def _n(value: float) -> str:
    """A share without its zero, as tables in this field print it."""
    return f"{value:.4f}".removeprefix("0")
