"""The lexical focusing window of PROSPER: while training, only the k largest terms of a text count.

FLOPS alone leaves a language model of 150,000 terms with everything on, or with nothing. A hard
top-k is the coarse stage, FLOPS on what it keeps the fine one (arXiv 2510.18527).
"""

import math
from typing import Literal

import torch
from torch import Tensor

from .stage_sections import Window


def focused(weights: Tensor, k: int) -> Tensor:
    """Rows of more than k non-zero weights keep their k largest, the rest become 0.

    `weights` is (batch, terms), not negative. Among equal weights the smaller term number stays, as
    in `keep_largest`, so that a step can be repeated. The gradient reaches kept terms alone; rows
    of at most k terms come back as they are.

    >>> focused(torch.tensor([[3.0, 1.0, 2.0, 2.0], [0.0, 1.0, 0.0, 2.0]]), 2)
    tensor([[3., 0., 2., 0.],
            [0., 1., 0., 2.]])
    """
    if k >= weights.shape[1]:
        return weights
    with torch.no_grad():
        least = weights.topk(k, dim=1).values[:, -1:]
        above, tied = weights > least, weights == least
        room = k - above.sum(dim=1, keepdim=True)
        kept = above | (tied & (tied.cumsum(dim=1) <= room))
        dropped = ~kept & ((weights > 0).sum(dim=1, keepdim=True) > k)
    return weights.masked_fill(dropped, 0.0)


def window_size(step: int, *, start: int, end: int, steps: int) -> int:
    """How many terms the window keeps at `step` (0-based): from `start` to `end`, then constant.

    It shrinks by the same factor every step, so that it spends as long between 4,096 and 2,048 as
    between 512 and 256. It is a function of the trainer's step alone: a resumed run goes on where
    it was. `start` = 0 or `steps` = 0 means `end` from the beginning.

    >>> [window_size(step, start=1024, end=256, steps=4) for step in range(6)]
    [1024, 724, 512, 362, 256, 256]
    """
    if not start or step >= steps:
        return end
    done = step / steps
    return round(start * math.pow(end / start, done))


def in_window(
    weights: Tensor, window: Window | None, side: Literal["queries", "documents"], step: int
) -> Tensor:
    """What `window` shows of the vectors of one side at `step`."""
    end: int = 0 if window is None else getattr(window, side)
    if window is None or not end:
        return weights
    start: int = getattr(window, f"{side}_start")
    return focused(weights, window_size(step, start=start, end=end, steps=window.steps))
