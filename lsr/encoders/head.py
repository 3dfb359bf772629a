"""The head's last product and its pooling, without ever holding (batch, length, vocab) logits.

    max_logits     max over positions of (features @ weight^T + bias); activation comes after
    sum_activated  sum over positions of activation(features @ weight^T + bias), SPLADE v1

Maxima are taken block by block, over true positions only, so padding costs nothing and a block
stays in the processor's cache. Backward, an entry whose gradient is zero costs nothing: relu passes
none to the terms a document does not have, which are nearly all. Where a gradient arrives, the one
position that won is found by multiplying again, for these entries alone; torch's max with indices,
which records every winner forwards, took .39 s where the maximum alone took .014 s (32 x 128 x
30,522 logits, one core). The same code runs on a GPU, in larger blocks; there are no kernels of our
own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

_BLOCK_CPU = 2_048  # terms; with 128 positions a block of logits is 1 MB, a cache's worth
_BLOCK_GPU = 1 << 26  # logits; 128 MB in bfloat16
_ENTRIES = 8_192  # (document, term) pairs handled at once backwards: 12 MB at width 384


def max_logits(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor,
    *,
    terms: Tensor | None = None,
    block: int | None = None,
) -> Tensor:
    """(batch, terms): the largest logit of each term over the positions where `mask` is not 0.

    `features` (batch, length, width), `weight` (vocab, width), `bias` (vocab,), `terms` (n,) the
    rows of `weight` wanted, all if None. Products are made in autocast's type where it is on; the
    result is float32, or float64 for float64 features. A text without positions gets -inf.
    Gradients are exact; among equal logits the first position takes it all. `block` is how many
    terms are multiplied at once.

    >>> features = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> max_logits(features, torch.tensor([[2.0], [-1.0]]), None, torch.tensor([[1, 1, 0]]))
    tensor([[ 6., -1.]])
    """
    if block is None:
        n_logits = max(1, features.shape[0] * features.shape[1])
        block = _BLOCK_CPU if features.device.type == "cpu" else max(1, _BLOCK_GPU // n_logits)
    pooled: Tensor = _MaxLogits.apply(  # type: ignore[no-untyped-call]
        features, weight, bias, mask != 0, terms, block, _product_type(features)
    )
    return pooled


def sum_activated(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor,
    activate: Callable[[Tensor], Tensor],
    *,
    terms: Tensor | None = None,
) -> Tensor:
    """(batch, terms) float32: activated logits summed over positions, a few texts at a time.

    Arguments as in `max_logits`. The logits of these texts are computed again backwards.
    """
    if terms is not None:
        weight = weight[terms]
        bias = None if bias is None else bias[terms]

    def some(features: Tensor, hidden: Tensor) -> Tensor:
        logits = functional.linear(features, weight, bias)
        return activate(logits.masked_fill_(hidden, float("-inf")).float()).sum(dim=1)

    size = 1
    if features.device.type != "cpu":
        size = max(1, _BLOCK_GPU // max(1, features.shape[1] * weight.shape[0]))
    hidden = (mask == 0).unsqueeze(-1)
    parts = [
        checkpoint(some, *pair, use_reentrant=False)
        for pair in zip(torch.split(features, size), torch.split(hidden, size), strict=True)
    ]
    return torch.cat(parts)


def _product_type(features: Tensor) -> torch.dtype:
    device = features.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return features.dtype


class _MaxLogits(torch.autograd.Function):
    """Saves its arguments and (batch, terms) which texts have positions, nothing per position."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        shown: Tensor,
        terms: Tensor | None,
        block: int,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(features, weight, bias, shown, terms)
        ctx.dtype = dtype
        n_terms = weight.shape[0] if terms is None else terms.shape[0]
        result = torch.float64 if features.dtype == torch.float64 else torch.float32
        pooled = features.new_full((features.shape[0], n_terms), float("-inf"), dtype=result)
        with torch.autocast(features.device.type, enabled=False):
            _pool(pooled, features.to(dtype), weight, shown, terms, block)
        if bias is not None:
            pooled += bias if terms is None else bias[terms]
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, shown, terms = ctx.saved_tensors
        with torch.autocast(features.device.type, enabled=False):
            of_features, of_weight = _gradients(
                grad,
                features,
                weight,
                shown,
                terms=terms,
                dtype=ctx.dtype,
                wanted=ctx.needs_input_grad[:2],
            )
        of_bias = None
        if ctx.needs_input_grad[2]:
            columns = grad.masked_fill(~shown.any(dim=1, keepdim=True), 0).sum(dim=0)
            of_bias = columns
            if terms is not None:
                of_bias = torch.zeros_like(bias, dtype=grad.dtype).index_add_(0, terms, columns)
        given = (features, weight, bias)
        grads = (of_features, of_weight, of_bias)
        return (
            *(g if g is None else g.to(x.dtype) for g, x in zip(grads, given, strict=True)),
            *[None] * 4,
        )


def _pool(
    pooled: Tensor,
    features: Tensor,
    weight: Tensor,
    shown: Tensor,
    terms: Tensor | None,
    block: int,
) -> None:
    n_terms = pooled.shape[1]
    texts = [rows[positions] for rows, positions in zip(features, shown, strict=True)]
    for start in range(0, n_terms, block):
        chosen = slice(start, start + block) if terms is None else terms[start : start + block]
        columns = weight[chosen].to(features.dtype).t()
        if features.device.type == "cpu":
            for row, text in zip(pooled, texts, strict=True):
                if len(text):
                    row[start : start + block] = torch.mm(text, columns).amax(dim=0)
        else:
            logits = torch.matmul(features, columns)
            logits.masked_fill_(~shown.unsqueeze(-1), float("-inf"))
            pooled[:, start : start + block] = logits.amax(dim=1)


def _gradients(
    grad: Tensor,
    features: Tensor,
    weight: Tensor,
    shown: Tensor,
    *,
    terms: Tensor | None,
    dtype: torch.dtype,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of features and weight, summed in the type of `grad`; entries of 0 are left out."""
    of_features = torch.zeros_like(features, dtype=grad.dtype) if wanted[0] else None
    of_weight = torch.zeros_like(weight, dtype=grad.dtype) if wanted[1] else None
    active = grad != 0
    for document, positions in enumerate(shown):
        for columns in torch.split(active[document].nonzero().squeeze(1), _ENTRIES):
            if not len(columns) or not bool(positions.any()):
                continue
            chosen = columns if terms is None else terms[columns]
            rows = weight[chosen]
            text = features[document]
            places = positions.nonzero().squeeze(1)
            # A bias moves all positions of a term alike, so it does not change who wins.
            logits = torch.mm(rows.to(dtype), text[places].to(dtype).t())
            won = places[logits.max(dim=1).indices]  # argmax is 3 times as slow in bfloat16
            scale = grad[document, columns].unsqueeze(1)
            if of_features is not None:
                of_features[document].index_add_(0, won, scale * rows)
            if of_weight is not None:
                of_weight.index_add_(0, chosen, scale * text[won])
    return of_features, of_weight
