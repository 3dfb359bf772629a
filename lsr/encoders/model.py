"""What every network behind a sparse encoder shares: features, decoder, pooled weights (torch).

    features   (batch, length, width)   what the last product of the head is given
    logits     features @ decoder       (batch, length, vocab); training may ask for some terms only
    weight[t] = activation(max over positions i of logit[i, t])      activation: log1p(relu(x))

The activation is monotone, so the maximum is taken first and the activation is applied to
(batch, vocab) values; logits of all positions never exist at once (`head`). Subclasses say how a
checkpoint is read and written; training and encoding run the same code.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from scipy import sparse

from ..errors import EncoderError, MissingExtra, NotFinite
from ..types import SparseMatrix
from .batching import Tokens, keep_largest, padded
from .buckets import Buckets
from .networks import NetworkKind
from .tokens import TextTokenizer

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
    from transformers import PreTrainedModel

    from .head import max_logits, sum_activated
    from .literal import LiteralResidual, Position
except ImportError as missing:
    raise MissingExtra(
        "a SPLADE model", extra="train", package=missing.name or "transformers"
    ) from None

Activation = Literal["relu", "log1p_relu"]
Pooling = Literal["max", "sum", "mean", "last"]
SILENT = -1e4
"""The bias of a term that never weighs anything: special tokens, numbers that stand for none."""


def silenced(bias: Tensor) -> Tensor:
    """(terms,) bool: whether each term was given the bias `SILENT`, which training may have moved.

    >>> silenced(torch.tensor([0.5, SILENT + 0.1, -30.0])).tolist()
    [False, True, False]
    """
    return bias < SILENT / 2


class SparseModel(nn.Module):
    """A language model whose logits become term weights.

    `activation` is `relu` for log1p(relu(x)) or `log1p_relu` for log1p(log1p(relu(x))), the names
    of the stock `SpladePooling`. `pooling="sum"` is SPLADE v1's: activated, then summed; "mean"
    divides that by the number of positions; "last" reads one position, the last that may be pooled.
    The two suit decoders, whose folders only this package reads.
    """

    kind: ClassVar[NetworkKind] = "masked-lm"
    buckets: Buckets | None = None
    """Set where terms are latent (UHD); None where they are the tokens of the tokenizer."""
    literal: LiteralResidual | None
    """PROSPER's second head, which keeps the words of the text; see `attach_literal`."""

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: TextTokenizer,
        *,
        activation: Activation = "relu",
        pooling: Pooling = "max",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.activation: Activation = activation
        self.pooling: Pooling = pooling
        self.register_module("literal", None)

    @property
    def n_terms(self) -> int:
        """Columns of the output: the vocabulary of the language model."""
        return int(self.backbone.config.vocab_size)

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    @property
    def decoder(self) -> nn.Linear:
        """The last layer of the head: (vocab, width) weight and (vocab,) bias, or no bias."""
        decoder = self.backbone.get_output_embeddings()  # type: ignore[no-untyped-call]
        if not isinstance(decoder, nn.Linear):
            raise EncoderError(
                f"{type(self.backbone).__name__} ends in no linear decoder, so its head cannot be "
                "read as term weights"
            )
        return decoder

    def attach_literal(self, *, position: Position, seed: int = 0) -> None:
        """Give the network a new literal residual, which reads the state of this position."""
        special, width = self.tokenizer.special_ids(), self.decoder.in_features
        literal = LiteralResidual(width, self.n_terms, special, position=position, seed=seed)
        self.literal = literal.to(self.device)

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length, width): what the decoder would be given."""
        with _bypassed(self.decoder):
            features: Tensor = self.backbone(
                input_ids=input_ids, attention_mask=attention_mask
            ).logits
        return features

    def logits(self, features: Tensor, terms: Tensor | None = None) -> Tensor:
        """(..., width) to (..., len(terms)) logits; all terms if None."""
        decoder = self.decoder
        if terms is None:
            return functional.linear(features, decoder.weight, decoder.bias)
        bias = None if decoder.bias is None else decoder.bias[terms]
        return functional.linear(features, decoder.weight[terms], bias)

    def pooled_positions(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length) bool: the positions that pooling reads."""
        kept = attention_mask != 0
        if self.pooling == "last":
            return kept & (kept.flip(1).cumsum(dim=1).flip(1) == 1)
        return kept

    def by_position(self, input_ids: Tensor, attention_mask: Tensor, terms: Tensor) -> Tensor:
        """(batch, length, terms) float32: logits, -inf at positions that pooling does not read."""
        logits = self.logits(self.features(input_ids, attention_mask), terms).float()
        hidden = ~self.pooled_positions(input_ids, attention_mask)
        return logits.masked_fill(hidden.unsqueeze(-1), float("-inf"))

    def pooled(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        terms: Tensor | None = None,
        *,
        features: Tensor | None = None,
    ) -> Tensor:
        """(batch, terms) float32: the largest logit over the positions of each text.

        `features` are those of the same tokens, where they are known already.
        """
        if features is None:
            features = self.features(input_ids, attention_mask)
        decoder, kept = self.decoder, self.pooled_positions(input_ids, attention_mask)
        return max_logits(features, decoder.weight, decoder.bias, kept, terms=terms)

    def weights(
        self, input_ids: Tensor, attention_mask: Tensor, terms: Tensor | None = None
    ) -> Tensor:
        """(batch, length) token numbers and 0/1 mask to (batch, terms) float32 weights >= 0.

        Positions outside `pooled_positions` take no part. `terms` are the columns wanted; None
        means all.
        """
        features = self.features(input_ids, attention_mask)
        if self.pooling in ("max", "last"):
            pooled = self.pooled(input_ids, attention_mask, terms, features=features)
            weights = self.activate(pooled)
        else:
            decoder, kept = self.decoder, self.pooled_positions(input_ids, attention_mask)
            parameters = decoder.weight, decoder.bias, kept
            weights = sum_activated(features, *parameters, self.activate, terms=terms)
            if self.pooling == "mean":
                weights = weights / kept.sum(dim=1, keepdim=True).clamp(min=1)
        if self.literal is None:
            return weights
        with_literal: Tensor = self.literal(weights, features, input_ids, attention_mask, terms)
        return with_literal

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, vocab) float32 term weights; see `weights`."""
        return self.weights(input_ids, attention_mask)

    def activate(self, logits: Tensor) -> Tensor:
        """From logits to weights, element by element."""
        weights = torch.log1p(torch.relu(logits))
        return torch.log1p(weights) if self.activation == "log1p_relu" else weights

    @torch.inference_mode()
    def encode_tokens(
        self,
        tokens: Tokens,
        *,
        top_k: int | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
    ) -> SparseMatrix:
        """One batch of token lists, special tokens included, to rows of weights."""
        ids, mask = padded(tokens, self.tokenizer.pad_id)
        was_training = self.training
        self.eval()
        try:
            device = self.device
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                weights = self(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        finally:
            self.train(was_training)
        if not bool(torch.isfinite(weights).all()):
            raise NotFinite(
                "the network gave weights that are not finite; its training diverged, or its "
                "checkpoint is damaged"
            )
        # Compacted where the weights are: a dense batch is a hundred times what it holds.
        kept = weights > 0
        offsets = np.concatenate([[0], kept.sum(dim=1).cumsum(dim=0).cpu().numpy()])
        columns = kept.nonzero()[:, 1].to(torch.int32).cpu().numpy()
        rows: SparseMatrix = sparse.csr_array(
            (weights[kept].cpu().numpy(), columns, offsets.astype(np.int32)),
            shape=(len(tokens), self.n_terms),
        )
        return rows if top_k is None else keep_largest(rows, top_k)

    def save_checkpoint(self, folder: str | Path) -> None:
        """Write config, weights and tokenizer as the subclass's loader reads them."""
        raise NotImplementedError

    def save_own(self, folder: Path) -> None:
        """Write the module that only this package knows, for a network that has one."""
        assert self.literal is not None
        self.literal.save(folder)


@contextmanager
def _bypassed(layer: nn.Linear) -> Iterator[None]:
    """Make `layer` hand its input through, so that a model's last product is not computed."""
    layer.forward = _unchanged  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del layer.forward


def _unchanged(features: Tensor) -> Tensor:
    return features


def pick_device(name: str | None) -> torch.device:
    """The named torch device; None takes the first GPU, or the CPU where there is none."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise EncoderError(f"no torch device is called {name!r}: {error}") from None
