"""What a step computes: a batch in, a loss and its parts out. One module a stage.

Each is an `nn.Module` whose forward is everything the network does in a step, so that autocast and
data-parallel wrappers see it whole. The step comes from outside: the trainer knows it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsr.encoders.model import SparseModel

from .controller import SparsityController
from .gather import gathered, shared
from .grad_cache import in_pieces
from .losses import mixed
from .queries import TableQueries
from .regularizers import (
    DocumentFrequencies,
    active_terms,
    anti_zero,
    flops,
    l1,
    long_only,
)
from .schedule import quadratic
from .stage_sections import RankingStage
from .window import in_window

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
    """A mix of ranking losses over the documents of the batch, plus what keeps vectors sparse.

    `queries` is the documents' own network (siamese), another one, or a table. With a table of idf
    the score is the sum of idf(t) * d(t) over the query's tokens, while the penalty is computed on
    the un-weighted d: frequent tokens earn little ranking gradient for the same penalty and are
    pruned (arXiv 2411.04403). `idf` (n_terms,) is for the penalty "idf-flops" alone.

    Where several processes share a batch, each is given its own documents and queries, in the order
    of processes, and the matrices of the whole batch (see `gather`).
    """

    def __init__(
        self,
        documents: SparseModel,
        queries: SparseModel | TableQueries,
        stage: RankingStage,
        *,
        idf: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.documents = documents
        self.queries = queries
        self.stage = stage
        sparsity = stage.sparsity
        self.frequencies: DocumentFrequencies | None = None
        self.idf: Tensor | None
        if sparsity.penalty == "df-flops":
            self.frequencies = DocumentFrequencies(
                documents.n_terms,
                alpha=sparsity.df_alpha,
                beta=sparsity.df_beta,
                refresh=sparsity.df_refresh,
                decay=sparsity.df_decay,
            )
        wanted = stage.controller
        self.controllers = nn.ModuleDict(
            {
                side: SparsityController(
                    target,
                    start=start,
                    ramp_steps=sparsity.ramp,
                    rate=wanted.rate,
                    decay=wanted.decay,
                    lookahead=wanted.lookahead,
                    lowest=wanted.lowest,
                    highest=wanted.highest,
                )
                for side, target, start in (
                    ("documents", wanted.documents, sparsity.documents),
                    ("queries", wanted.queries, sparsity.queries),
                )
                if target is not None
            }
        )
        emphasis = None
        if sparsity.penalty == "idf-flops":
            assert idf is not None
            # Scaled to a mean of 1, so that the weight of the penalty means what it does without.
            emphasis = idf / idf.mean()
        self.register_buffer("idf", emphasis, persistent=False)

    def forward(
        self,
        document_ids: Tensor,
        document_mask: Tensor,
        positives: Tensor,
        excluded: Tensor,
        step: int,
        query_ids: Tensor | None = None,
        query_mask: Tensor | None = None,
        query_terms: Tensor | None = None,
        terms: Tensor | None = None,
        term_weights: Tensor | None = None,
        teacher: Tensor | None = None,
        words: Tensor | None = None,
        document_of: Tensor | None = None,
    ) -> Parts:
        """`query_terms` (queries, terms) marks tokens present (for a table); else `query_ids`.

        `terms` are the columns computed (None = all), `term_weights` their inverse probabilities;
        `teacher` (queries, documents) scores, NaN where unknown; `words` (queries, documents) is
        added to the network's scores. `document_of` (rows of `document_ids`,) numbers the document
        that a row is a window of, from 0 up. `step` is the trainer's, 0-based.
        """
        size = self.stage.micro_batch

        def encode(ids: Tensor, mask: Tensor) -> Tensor:
            return self.documents.weights(ids, mask, terms)

        window = self.stage.window
        documents = in_pieces(encode, document_ids, document_mask, size=size)
        if document_of is not None:
            documents = largest_of_each(documents, document_of)
        # Whole vectors: an encoder has no window, and one as large as the target hid any excess.
        lengths = {"documents": _mean_length(documents, term_weights)}
        documents = gathered(in_window(documents, window, "documents", step))
        if isinstance(self.queries, TableQueries):
            assert query_terms is not None
            own = self.queries(query_terms, terms, step=step)
        else:
            assert query_ids is not None
            assert query_mask is not None
            own = in_pieces(self.queries.weights, query_ids, query_mask, size=size)
        lengths["queries"] = _mean_length(own, None)
        if not isinstance(self.queries, TableQueries):
            own = in_window(own, window, "queries", step)
        queries = gathered(own)
        # Full precision: sums over a hundred terms decide between neighbours.
        with torch.autocast(documents.device.type, enabled=False):
            scored = queries.float()
            if self.stage.normalize_queries:
                scored = functional.normalize(scored, dim=1)
            scores = scored @ documents.float().T
            if words is not None:
                scores = scores + words
            rank, losses = mixed(self.stage, scores, positives, excluded=excluded, teacher=teacher)
            weights = {side: self._weight(side, step) for side in lengths}
            penalty = self._penalty(documents, queries, weights, terms, term_weights)
        parts: Parts = {"loss": shared(rank + penalty)}
        parts["rank_loss"] = rank.detach()
        parts |= {name: loss.detach() for name, loss in losses.items()}
        parts["penalty"] = penalty.detach()
        parts["ranked_first"] = _share_first(scores.detach(), positives, excluded)
        parts["document_terms"], parts["query_terms"] = lengths["documents"], lengths["queries"]
        if window is not None:
            parts["document_terms_seen"] = active_terms(documents, term_weights).mean()
            parts["query_terms_seen"] = active_terms(queries).mean()
        for side, controller in self.controllers.items():
            assert isinstance(controller, SparsityController)
            controller.observe(lengths[side])
            parts[f"{side}_weight"] = torch.tensor(weights[side])
        if teacher is not None:
            parts["teacher_known"] = (~teacher.isnan()).float().mean()
        return parts

    def _penalty(
        self,
        documents: Tensor,
        queries: Tensor,
        weights: Mapping[str, float],
        terms: Tensor | None,
        term_weights: Tensor | None,
    ) -> Tensor:
        """Everything that is added to the ranking losses, with this step's weights of each side."""
        sparsity = self.stage.sparsity
        if self.frequencies is not None and self.training:
            self.frequencies.update(documents.detach(), terms, term_weights)
        long = long_only(documents, sparsity.l0_threshold) if sparsity.l0_threshold else documents
        if sparsity.penalty == "l1":
            of_documents = l1(long, term_weights)
        else:
            emphasis = self.idf if self.frequencies is None else self.frequencies.emphasis
            if emphasis is not None and terms is not None:
                emphasis = emphasis[terms]
            of_documents = flops(long, term_weights, emphasis)
        penalty = of_documents * weights["documents"]
        learns_queries = not isinstance(self.queries, TableQueries)
        if learns_queries and sparsity.queries:
            of_queries = l1(queries) if sparsity.query_penalty == "l1" else flops(queries)
            penalty = penalty + of_queries * weights["queries"]
        if sparsity.anti_zero:
            empty = anti_zero(documents) + (anti_zero(queries) if learns_queries else 0.0)
            penalty = penalty + sparsity.anti_zero * empty
        return penalty

    def _weight(self, side: str, step: int) -> float:
        """The weight of this side's penalty: controlled, or of the schedule."""
        if side in self.controllers:
            controller = self.controllers[side]
            assert isinstance(controller, SparsityController)
            return controller.weight(step)
        sparsity = self.stage.sparsity
        peak = sparsity.documents if side == "documents" else sparsity.queries
        return quadratic(step, peak=peak, ramp_steps=sparsity.ramp)


def largest_of_each(rows: Tensor, owner: Tensor) -> Tensor:
    """(documents, terms): the largest weight of each term over the windows of each document."""
    empty = rows.new_zeros(int(owner.max()) + 1, rows.shape[1])
    return empty.scatter_reduce(0, owner.unsqueeze(1).expand_as(rows), rows, "amax")


def _mean_length(own: Tensor, term_weights: Tensor | None) -> Tensor:
    """Mean number of active terms of the vectors of all processes, of which `own` are this one's; a
    scalar.
    """
    return gathered(active_terms(own, term_weights).unsqueeze(1)).mean()


def _share_first(scores: Tensor, positives: Tensor, excluded: Tensor) -> Tensor:
    own = scores.gather(1, positives.unsqueeze(1))
    rivals = scores.masked_fill(excluded, float("-inf"))
    rivals = rivals.scatter(1, positives.unsqueeze(1), float("-inf"))
    return (own > rivals).all(dim=1).float().mean()
