"""What makes vectors sparse, with one normalisation: the mean is over every document of the batch.

Published penalty weights differ by the convention behind them: here documents are pooled (positives
and negatives alike), so a weight tuned where slots are summed is larger here by about the number of
documents per query. All arithmetic is float32: squares of means overflow half precision.
"""

from torch import Tensor


def flops(weights: Tensor, term_weights: Tensor | None = None) -> Tensor:
    """FLOPS regulariser: the sum over terms of the squared mean weight, a scalar.

    `weights` is (batch, terms), non-negative. The value estimates the multiply-adds one document
    costs against another of its kind, so it presses hardest on frequent terms. `term_weights`
    (terms,) are inverse sampling probabilities when only some columns of the vocabulary were
    computed; the result is then an unbiased estimate of the full sum.
    Paria et al., ICLR 2020, arXiv 2004.05665.

    >>> import torch
    >>> flops(torch.tensor([[1.0, 0.0], [3.0, 0.0]])).item()
    4.0
    """
    squares = weights.float().mean(dim=0).square()
    return squares.sum() if term_weights is None else (squares * term_weights).sum()


def active_terms(weights: Tensor, term_weights: Tensor | None = None) -> Tensor:
    """Mean number of non-zero terms in a row, a scalar; `term_weights` as in `flops`.

    >>> import torch
    >>> active_terms(torch.tensor([[1.0, 0.0], [3.0, 2.0]])).item()
    1.5
    """
    on = (weights.detach() > 0).float()
    return (on if term_weights is None else on * term_weights).sum(dim=1).mean()
