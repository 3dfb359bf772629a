"""The query side without a network, while it trains: a weight for each token, frozen or learned.

The other query sides are networks: the documents' own (siamese) or a second `SparseModel`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


class TableQueries(nn.Module):
    """A query is the presence of its tokens times a table: idf, all ones (binary), or learned.

    A learned table (Li-LSR, arXiv 2505.01452) starts from `weights` and moves once `frozen_steps`
    have passed, so that documents settle first. Weights below 0 are put back to 0 before each use,
    where they still get a gradient, and special tokens stay 0.
    """

    def __init__(
        self,
        weights: Tensor,
        *,
        specials: Sequence[int] = (),
        learned: bool = False,
        frozen_steps: int = 0,
    ) -> None:
        super().__init__()
        weights = weights.detach().clone().float()
        weights[list(specials)] = 0.0
        self.specials = tuple(specials)
        self.learned, self.frozen_steps = learned, frozen_steps
        self.weight: Tensor
        if learned:
            self.weight = nn.Parameter(weights)
        else:
            self.register_buffer("weight", weights, persistent=False)

    def forward(self, present: Tensor, terms: Tensor | None = None, *, step: int = 0) -> Tensor:
        """(queries, terms) bool, the tokens of each query, to float32 weights of those columns."""
        if self.learned:
            self.clip()
        weight = self.weight if terms is None else self.weight[terms]
        if self.learned and step < self.frozen_steps:
            # A gradient of 0 and not None: every process must have one for every parameter.
            weight = weight.detach() + 0 * weight
        return present.float() * weight

    @torch.no_grad()
    def clip(self) -> None:
        """Put the table back among those an encoder may have."""
        self.clipped(self.weight)

    def clipped(self, weight: Tensor) -> Tensor:
        """`weight`, changed in place so that it is a table that an encoder may have."""
        weight.clamp_(min=0.0)
        weight[list(self.specials)] = 0.0
        return weight

    def table(self) -> npt.NDArray[np.float32]:
        """(n_terms,) the table as an encoder stores it."""
        self.clip()
        return self.weight.detach().cpu().numpy().astype(np.float32)
