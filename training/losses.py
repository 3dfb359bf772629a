"""Ranking losses: pure functions of score tensors, no model, no state.

Scores come as one matrix (queries, documents) over every document of the batch, so in-batch and
given negatives are the same thing: columns. Distillation losses will join InfoNCE here.
"""

from torch import Tensor
from torch.nn import functional


def info_nce(
    scores: Tensor, positives: Tensor, *, excluded: Tensor | None = None, scale: float = 1.0
) -> Tensor:
    """Mean over queries of the cross-entropy of each query's positive against all other columns.

    `scores` is (queries, documents), `positives` (queries,) the column of each query's positive.
    `excluded` (queries, documents) bool marks columns that are no fair negatives for a query, such
    as its other relevant documents; the positive itself is never excluded. `scale` multiplies the
    scores, the inverse of a temperature. van den Oord et al., arXiv 1807.03748.

    >>> import torch
    >>> round(info_nce(torch.tensor([[2.0, 0.0]]), torch.tensor([0])).item(), 4)
    0.1269
    """
    logits = scores.float() * scale
    if excluded is not None:
        hidden = excluded.scatter(1, positives.unsqueeze(1), False)
        logits = logits.masked_fill(hidden, float("-inf"))
    return functional.cross_entropy(logits, positives)
