"""What makes vectors sparse, with one normalisation: the mean is over every document of the batch.

Published penalty weights differ by the convention behind them: here documents are pooled (positives
and negatives alike, of all processes), so a weight tuned where slots are summed is larger here by
about the number of documents per query. All arithmetic is float32: squares of means overflow half
precision. Everywhere `weights` is (batch, terms), non-negative, and `term_weights` (terms,) are
inverse sampling probabilities when only some columns of the vocabulary were computed.
"""

import math

import torch
from torch import Tensor, nn


def flops(
    weights: Tensor, term_weights: Tensor | None = None, emphasis: Tensor | None = None
) -> Tensor:
    """FLOPS regulariser: the sum over terms of the squared mean weight, a scalar.

    It estimates the multiply-adds one document costs against another of its kind, so it presses
    hardest on frequent terms. With `term_weights` it is an unbiased estimate of the sum over all
    terms. `emphasis` (terms,) multiplies each mean before it is squared: idf, or the weights of
    `DocumentFrequencies`. Paria et al., ICLR 2020, arXiv 2004.05665.

    >>> flops(torch.tensor([[1.0, 0.0], [3.0, 0.0]])).item()
    4.0
    """
    means = weights.float().mean(dim=0)
    squares = (means if emphasis is None else means * emphasis).square()
    return squares.sum() if term_weights is None else (squares * term_weights).sum()


def l1(weights: Tensor, term_weights: Tensor | None = None) -> Tensor:
    """Mean over rows of the sum of weights, a scalar: presses on length, not on balance.

    Unbiased with `term_weights`. For queries in Lassance and Clinchant, arXiv 2207.03834.

    >>> l1(torch.tensor([[1.0, 0.0], [3.0, 2.0]])).item()
    3.0
    """
    weights = weights.float()
    return (weights if term_weights is None else weights * term_weights).sum(dim=1).mean()


def long_only(weights: Tensor, threshold: int) -> Tensor:
    """The weights with every row of at most `threshold` active terms set to 0.

    Penalised instead of all rows, it spares short documents (l0 mask, arXiv 2504.14839); the mean
    of the penalty still runs over every row. Needs all terms: counted on a sample, rows would cross
    the threshold by chance.

    >>> long_only(torch.tensor([[1.0, 0.0], [3.0, 2.0]]), 1).tolist()
    [[0.0, 0.0], [3.0, 2.0]]
    """
    lengths = (weights.detach() > 0).sum(dim=1, keepdim=True)
    return weights.masked_fill(lengths <= threshold, 0.0)


def anti_zero(weights: Tensor) -> Tensor:
    """Mean over rows of 1 / (1 + (sum of weights)^2): 1 for an empty row, near 0 for a usual one.

    Keeps a vector from vanishing while something of it is left; once every ReLU is dead there is no
    gradient to bring it back. naver/splade adds 1 / (sum)^2 of the whole batch, unbounded; the 1
    bounds it. Needs all terms.

    >>> anti_zero(torch.tensor([[0.0, 0.0], [3.0, 0.0]])).item()
    0.550000011920929
    """
    return (1 / (1 + weights.float().sum(dim=1).square())).mean()


def active_terms(weights: Tensor, term_weights: Tensor | None = None) -> Tensor:
    """(rows,) how many terms of each row are not zero; `term_weights` as in `flops`.

    >>> active_terms(torch.tensor([[1.0, 0.0], [3.0, 2.0]])).tolist()
    [1.0, 2.0]
    """
    on = (weights.detach() > 0).float()
    return (on if term_weights is None else on * term_weights).sum(dim=1)


class DocumentFrequencies(nn.Module):
    """Weights of terms in DF-FLOPS: how many of the model's own documents a term is active in.

    Shares of documents are followed by an exponential moving average and turned into weights every
    `refresh` batches, w = 1 / (1 + (share^log_alpha(2) - 1)^beta): a half at share alpha, 1 for a
    term that is everywhere. Both are buffers, so checkpoints hold them.
    Porco et al., arXiv 2505.15070, where the shares come from a validation pass.
    """

    def __init__(
        self, n_terms: int, *, alpha: float, beta: float, refresh: int, decay: float
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.refresh, self.decay = alpha, beta, refresh, decay
        self.shares: Tensor
        self.emphasis: Tensor
        self.n_batches: Tensor
        self.register_buffer("shares", torch.zeros(n_terms))
        self.register_buffer("emphasis", torch.zeros(n_terms))
        self.register_buffer("n_batches", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(
        self, weights: Tensor, terms: Tensor | None = None, term_weights: Tensor | None = None
    ) -> None:
        """Count a batch: (batch, len(terms)) weights of the columns `terms`, all if None.

        Sampled terms count `term_weights` fold and the others 0, which is right on average.
        """
        seen = (weights > 0).float().mean(dim=0)
        if terms is not None:
            assert term_weights is not None
            seen = torch.zeros_like(self.shares).index_copy_(0, terms, seen * term_weights)
        # The average of the batches so far until there are enough of them for the decay.
        rate = max(1 - self.decay, 1 / (int(self.n_batches) + 1))
        self.shares.lerp_(seen, rate)
        if int(self.n_batches) % self.refresh == 0:
            self.emphasis.copy_(self.weights_of(self.shares))
        self.n_batches += 1

    def weights_of(self, shares: Tensor) -> Tensor:
        """DF-FLOPS weights of these shares of documents, in [0, 1]."""
        power = math.log(2) / math.log(self.alpha)
        # A share of 0 makes infinity and so the weight 0; sampling may estimate more than 1.
        return 1 / (1 + (shares.clamp(0, 1).pow(power) - 1).clamp(min=0).pow(self.beta))
