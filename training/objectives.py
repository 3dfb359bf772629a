"""What a step computes: a batch in, a loss and its parts out. One module a stage.

Each is an `nn.Module` whose forward is everything the network does in a step, so that autocast and
data-parallel wrappers see it whole. Penalty weights come from outside: the trainer knows the step.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsr.encoders.model import SparseModel

from .losses import info_nce
from .regularizers import active_terms, flops

Parts = dict[str, Tensor]
"""`loss` is what is minimised; every other entry is detached and only logged."""


class MaskedLanguageModel(nn.Module):
    """Cross-entropy of the right token at chosen positions, hidden ones and visible ones."""

    def __init__(self, model: SparseModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor, targets: Tensor
    ) -> Parts:
        """`positions` index the flattened (batch * length) tokens, `targets` are their tokens."""
        features = self.model.features(input_ids, attention_mask)
        logits = self.model.logits(features.flatten(0, 1)[positions]).float()
        loss = functional.cross_entropy(logits, targets)
        hit = (logits.detach().argmax(dim=1) == targets).float().mean()
        return {"loss": loss, "named_right": hit}


class Ranking(nn.Module):
    """InfoNCE over the documents of the batch plus FLOPS, siamese or inference-free.

    Inference-free: a query is the presence of its tokens times `idf`, so the score is
    sum idf(t) * d_t over its tokens, while FLOPS is computed on the un-weighted d: frequent tokens
    earn little ranking gradient for the same penalty and are pruned (arXiv 2411.04403).
    """

    def __init__(self, model: SparseModel, *, scale: float, idf: Tensor | None = None) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        self.register_buffer("idf", idf, persistent=False)

    def forward(
        self,
        document_ids: Tensor,
        document_mask: Tensor,
        positives: Tensor,
        excluded: Tensor,
        flops_documents: float,
        flops_queries: float,
        query_ids: Tensor | None = None,
        query_mask: Tensor | None = None,
        query_terms: Tensor | None = None,
        terms: Tensor | None = None,
        term_weights: Tensor | None = None,
    ) -> Parts:
        """`query_terms` (queries, terms) marks tokens present (inference-free); else `query_ids`.

        `terms` are the columns computed (None = all), `term_weights` their inverse probabilities.
        """
        documents = self.model.weights(document_ids, document_mask, terms)
        parts: Parts = {}
        penalty = flops_documents * flops(documents, term_weights)
        if query_terms is not None:
            assert isinstance(self.idf, Tensor)
            queries = query_terms.float() * (self.idf if terms is None else self.idf[terms])
        else:
            assert query_ids is not None
            assert query_mask is not None
            queries = self.model.weights(query_ids, query_mask)
            penalty = penalty + flops_queries * flops(queries)
        with torch.autocast(documents.device.type, enabled=False):
            # Full precision: sums over a hundred terms decide between neighbours.
            scores = queries @ documents.T
            rank = info_nce(scores, positives, excluded=excluded, scale=self.scale)
        parts["loss"] = rank + penalty
        parts["rank_loss"] = rank.detach()
        parts["penalty"] = penalty.detach()
        parts["ranked_first"] = _share_first(scores.detach(), positives, excluded)
        parts["document_terms"] = active_terms(documents, term_weights)
        parts["query_terms"] = active_terms(queries)
        return parts


def _share_first(scores: Tensor, positives: Tensor, excluded: Tensor) -> Tensor:
    own = scores.gather(1, positives.unsqueeze(1))
    rivals = scores.masked_fill(excluded, float("-inf"))
    rivals = rivals.scatter(1, positives.unsqueeze(1), float("-inf"))
    return (own > rivals).all(dim=1).float().mean()
