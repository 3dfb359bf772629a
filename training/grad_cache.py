"""Batches larger than memory: encode a few texts at a time, with the gradient of the whole batch.

GradCache (Gao et al., arXiv 2101.06983): vectors are computed piece by piece without keeping what a
backward pass needs; the loss of all vectors gives each its gradient; then each piece is encoded
again, with the random numbers it had, and the gradient goes on into the network. Here autograd
itself does the second half: a piece is a checkpoint of `torch.utils.checkpoint`, so the losses and
penalties see one matrix and know nothing of pieces.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .gather import most

Encode = Callable[[Tensor, Tensor], Tensor]
"""(batch, length) token numbers and 0/1 mask to (batch, terms) weights."""


def in_pieces(encode: Encode, ids: Tensor, mask: Tensor, *, size: int) -> Tensor:
    """`encode(ids, mask)`, `size` texts at a time if there are more; 0 means all at once.

    Texts are taken in order of length and padding is cut off each piece, so that short texts do not
    pay for long ones. Of several processes all must call it, and all go through the network equally
    often, one text once more where there are fewer: sharded parameters come together at each pass.
    """
    n_pieces = most(max(1, -(-len(ids) // size))) if size else 1
    if n_pieces == 1:
        return encode(ids, mask)
    order = mask.sum(dim=1).argsort(stable=True)

    def encoded(rows: Tensor) -> Tensor:
        piece = mask[rows]
        length = int(piece.any(dim=0).nonzero().max()) + 1
        weights: Tensor = checkpoint(
            encode, ids[rows, :length], piece[:, :length], use_reentrant=False
        )
        return weights

    pieces = [encoded(rows) for rows in torch.split(order, size)]
    pieces += [encoded(order[:1])[:0] for _ in range(n_pieces - len(pieces))]
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return torch.cat(pieces)[back]
