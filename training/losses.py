"""Ranking losses: pure functions of score tensors, no model, no state; `mixed` adds them up.

Scores come as one matrix (queries, documents) over every document of the batch, so in-batch and
given negatives are the same thing: columns. Everywhere

    scores      (queries, documents), any float type; the arithmetic is float32
    positives   (queries,) int64, the column of each query's drawn positive
    excluded    (queries, documents) bool, True where a document is relevant to the query
    teacher     (queries, documents) float32, NaN where the teacher's score is not known

and the result is a scalar whose gradient is finite: queries about which nothing is known add 0.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from .stage_sections import RankingStage

# Stands for minus infinity where a whole row may be hidden: exp gives 0 and no gradient is NaN.
_HIDDEN = -1e9


def info_nce(
    scores: Tensor, positives: Tensor, *, excluded: Tensor | None = None, scale: float = 1.0
) -> Tensor:
    """Mean over queries of the cross-entropy of each query's positive against all other columns.

    Columns in `excluded` are no fair negatives; the positive itself is never excluded. `scale`
    multiplies the scores, the inverse of a temperature. van den Oord et al., arXiv 1807.03748.

    >>> round(info_nce(torch.tensor([[2.0, 0.0]]), torch.tensor([0])).item(), 4)
    0.1269
    """
    logits = scores.float() * scale
    if excluded is not None:
        hidden = excluded.scatter(1, positives.unsqueeze(1), False)
        logits = logits.masked_fill(hidden, float("-inf"))
    return functional.cross_entropy(logits, positives)


def margin_mse(
    scores: Tensor,
    positives: Tensor,
    teacher: Tensor,
    *,
    match: str = "raw",
    spread: float = 1.0,
) -> Tensor:
    """Mean over known pairs (positive, other) of ((s+ - s) - (t+ - t))^2.

    A pair is known if the teacher scored both. `match` puts the teacher on another scale first
    (a shift cancels in a margin): "raw" leaves it; "student" gives it the student's spread within
    queries, as arXiv 2403.06789 gives a new teacher that of the previous one; "spread" gives it
    the number `spread`. Matched to the student, nothing holds the scale of scores: mix with a loss
    that does. Hofstaetter et al., arXiv 2010.02666.

    >>> margin_mse(torch.tensor([[3.0, 1.0]]), torch.tensor([0]), torch.tensor([[9.0, 6.0]])).item()
    1.0
    """
    scores, column = scores.float(), positives.unsqueeze(1)
    known = ~teacher.isnan()
    given = teacher.float().nan_to_num(0.0)
    if match != "raw":
        target = _spread(scores.detach(), known) if match == "student" else spread
        given = given * (target / _spread(given, known).clamp(min=1e-6))
    pairs = known & known.gather(1, column)
    pairs = pairs.scatter(1, column, False)
    errors = (scores.gather(1, column) - scores) - (given.gather(1, column) - given)
    return _mean(errors.square(), pairs)


def kl(
    scores: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 1.0,
    teacher_temperature: float = 1.0,
) -> Tensor:
    """Mean over queries of KL(softmax(t / teacher_temperature) || softmax(s / temperature)).

    Both softmaxes run over the documents of the query that the teacher scored; a query with fewer
    than two of them is left out. No factor temperature^2: changing the temperature changes the
    weight of the loss as well. Hinton et al., arXiv 1503.02531.

    >>> kl(torch.tensor([[1.0, 3.0]]), torch.tensor([[5.0, 7.0]])).item() < 1e-6
    True
    """
    student, target, known = _distributions(scores, teacher, temperature, teacher_temperature)
    divergence = (torch.xlogy(target, target) - target * student).masked_fill(~known, 0.0)
    return _mean(divergence.sum(dim=1), known.sum(dim=1) >= 2)


def pairwise(
    scores: Tensor,
    positives: Tensor,
    *,
    excluded: Tensor,
    teacher: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Mean over preferences i > j of log(1 + exp(-scale (s_i - s_j))): RankNet.

    With a teacher, every pair of one query's documents that it scored differently is a preference;
    without, the positive is preferred to each document that is not relevant. Memory grows with the
    square of the documents scored per query. Burges et al., ICML 2005.

    >>> best, shut = torch.tensor([0]), torch.tensor([[True, False]])
    >>> round(pairwise(torch.tensor([[2.0, 0.0]]), best, excluded=shut).item(), 4)
    0.1269
    """
    if teacher is None:
        scores = scores.float()
        margins = scores.gather(1, positives.unsqueeze(1)) - scores
        preferred = ~excluded.scatter(1, positives.unsqueeze(1), True)
    else:
        own, given, known = _candidates(scores, teacher)
        margins = own.unsqueeze(2) - own.unsqueeze(1)
        preferred = known.unsqueeze(2) & known.unsqueeze(1)
        preferred = preferred & (given.unsqueeze(2) > given.unsqueeze(1))
    return _mean(functional.softplus(-scale * margins), preferred)


def listwise(
    scores: Tensor,
    positives: Tensor,
    *,
    excluded: Tensor,
    teacher: Tensor | None = None,
    temperature: float = 1.0,
    teacher_temperature: float = 1.0,
) -> Tensor:
    """Mean over queries of the cross-entropy between two distributions over documents: ListNet.

    With a teacher they are those of `kl`, from which it differs by the teacher's entropy and not in
    its gradient. Without, the target is uniform over the query's relevant documents, all at once
    where `info_nce` takes one. Cao et al., ICML 2007.

    >>> both = torch.tensor([[True, True, False]])
    >>> round(listwise(torch.zeros(1, 3), torch.tensor([0]), excluded=both).item(), 4)  # log 3
    1.0986
    """
    if teacher is None:
        relevant = excluded.scatter(1, positives.unsqueeze(1), True).float()
        student = functional.log_softmax(scores.float() / temperature, dim=1)
        return -(relevant * student).sum(dim=1).div(relevant.sum(dim=1)).mean()
    student, target, known = _distributions(scores, teacher, temperature, teacher_temperature)
    entropy = -(target * student).masked_fill(~known, 0.0).sum(dim=1)
    return _mean(entropy, known.sum(dim=1) >= 2)


def approx_ndcg(
    scores: Tensor,
    positives: Tensor,
    *,
    excluded: Tensor,
    teacher: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Mean over queries of 1 - nDCG, the rank of i smoothed: 1 + sum_j sigmoid(scale (s_j - s_i)).

    Gains are the teacher's scores, min-max scaled per query, or 1 for each relevant document.
    Memory grows with the square of the documents per query. Qin, Liu and Li, Information Retrieval
    13 (2010).

    >>> far = torch.tensor([[90.0, 0.0]])
    >>> approx_ndcg(far, torch.tensor([0]), excluded=torch.zeros(1, 2, dtype=torch.bool)).item()
    0.0
    """
    if teacher is None:
        own, known = scores.float(), torch.ones_like(excluded)
        gains = excluded.scatter(1, positives.unsqueeze(1), True).float()
    else:
        own, given, known = _candidates(scores, teacher)
        low = given.masked_fill(~known, float("inf")).amin(dim=1, keepdim=True)
        high = given.masked_fill(~known, float("-inf")).amax(dim=1, keepdim=True)
        gains = (given - low) / (high - low).clamp(min=1e-6)
        gains = gains.masked_fill(~known, 0.0)
    above = torch.sigmoid(scale * (own.unsqueeze(1) - own.unsqueeze(2)))
    # A document is not above itself: its own sigmoid, always a half, is taken out again.
    ranks = 0.5 + above.masked_fill(~known.unsqueeze(1), 0.0).sum(dim=2)
    found = (gains / torch.log2(1 + ranks)).sum(dim=1)
    places = torch.arange(2, gains.shape[1] + 2, device=gains.device).float()
    best = (gains.sort(dim=1, descending=True).values / torch.log2(places)).sum(dim=1)
    return _mean(1 - found / best.clamp(min=1e-6), best > 0)


def mixed(
    stage: RankingStage,
    scores: Tensor,
    positives: Tensor,
    *,
    excluded: Tensor,
    teacher: Tensor | None = None,
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The weighted sum that `[stage.ranking.losses]` asks for, and each loss in it, unweighted."""
    weights, scale = stage.losses, stage.scale
    heat, teacher_heat = stage.temperature, stage.teacher_temperature
    parts: dict[str, Tensor] = {}
    if weights.info_nce:
        parts["info_nce"] = info_nce(scores, positives, excluded=excluded, scale=scale)
    if weights.margin_mse:
        parts["margin_mse"] = margin_mse(
            scores,
            positives,
            _given(teacher),
            match=stage.margin_match,
            spread=stage.margin_spread,
        )
    if weights.kl:
        parts["kl"] = kl(
            scores, _given(teacher), temperature=heat, teacher_temperature=teacher_heat
        )
    if weights.pairwise:
        parts["pairwise"] = pairwise(
            scores, positives, excluded=excluded, teacher=teacher, scale=scale
        )
    if weights.listwise:
        parts["listwise"] = listwise(
            scores,
            positives,
            excluded=excluded,
            teacher=teacher,
            temperature=heat,
            teacher_temperature=teacher_heat,
        )
    if weights.approx_ndcg:
        parts["approx_ndcg"] = approx_ndcg(
            scores, positives, excluded=excluded, teacher=teacher, scale=scale
        )
    total = torch.stack([getattr(weights, name) * part for name, part in parts.items()]).sum()
    return total, parts


def _given(teacher: Tensor | None) -> Tensor:
    # `RankingSteps` refuses a recipe whose losses want a teacher that is not there.
    assert teacher is not None
    return teacher


def _candidates(scores: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, teacher and mask (queries, most known) of the known documents, moved to the left."""
    known = ~teacher.isnan()
    width = max(1, int(known.sum(dim=1).max()))
    order = known.byte().argsort(dim=1, descending=True, stable=True)[:, :width]
    given = teacher.float().nan_to_num(0.0)
    return scores.float().gather(1, order), given.gather(1, order), known.gather(1, order)


def _distributions(
    scores: Tensor, teacher: Tensor, temperature: float, teacher_temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of the student, probabilities of the teacher, and what is known."""
    known = ~teacher.isnan()
    student = (scores.float() / temperature).masked_fill(~known, _HIDDEN)
    target = (teacher.float() / teacher_temperature).masked_fill(~known, _HIDDEN)
    return functional.log_softmax(student, dim=1), functional.softmax(target, dim=1), known


def _spread(values: Tensor, known: Tensor) -> Tensor:
    """Standard deviation within queries over the known entries, a scalar."""
    count = known.sum(dim=1, keepdim=True).clamp(min=1)
    centre = values.masked_fill(~known, 0.0).sum(dim=1, keepdim=True) / count
    return _mean((values - centre).square(), known).sqrt()


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of the counted entries; 0, with a gradient of 0, if there are none."""
    return values.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)
