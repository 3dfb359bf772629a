"""A SPLADE model as training sees it: the head's features, and logits for chosen terms only.

The decoder (features x vocabulary) is the widest product of a small encoder. Masked-LM needs it at
the guessed positions only, and inference-free ranking for the terms of the batch only; here both
can ask for just that. With nothing left out the weights equal those of `SpladeModel.forward`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsr.encoders.splade import SpladeModel
from lsr.errors import EncoderError


class Network(nn.Module):
    """Wraps a `SpladeModel`; parameters are the model's own."""

    def __init__(self, splade: SpladeModel) -> None:
        super().__init__()
        self.splade = splade
        decoder = splade.backbone.get_output_embeddings()  # type: ignore[no-untyped-call]
        if not isinstance(decoder, nn.Linear):
            raise EncoderError(
                f"{type(splade.backbone).__name__} ends in no linear decoder, so its head cannot "
                "be split; train BERT, DistilBERT, ModernBERT or MiniLM checkpoints"
            )

    @property
    def decoder(self) -> nn.Linear:
        """The last layer of the head: (vocab, width) weight and (vocab,) bias."""
        decoder = self.splade.backbone.get_output_embeddings()  # type: ignore[no-untyped-call]
        assert isinstance(decoder, nn.Linear)
        return decoder

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length, width): what the decoder would be given."""
        with _bypassed(self.decoder):
            features: Tensor = self.splade.backbone(
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

    def pooled(self, input_ids: Tensor, attention_mask: Tensor, terms: Tensor | None) -> Tensor:
        """(batch, terms) float32: the largest logit over the positions of each text."""
        logits = self.logits(self.features(input_ids, attention_mask), terms)
        hidden = (attention_mask == 0).unsqueeze(-1)
        # In place: the backward pass of a product needs its input, not its output.
        return logits.masked_fill_(hidden, float("-inf")).max(dim=1).values.float()

    def weights(
        self, input_ids: Tensor, attention_mask: Tensor, terms: Tensor | None = None
    ) -> Tensor:
        """(batch, terms) float32 term weights, as the trained encoder will give them."""
        return self.splade._activate(self.pooled(input_ids, attention_mask, terms))

    def set_dropout(self, probability: float) -> None:
        """Give every dropout of the network this probability."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability

    def learn_last(self, layers: int) -> None:
        """Let the head and the last `layers` layers learn, nothing else; -1 lets everything."""
        backbone = self.splade.backbone
        if layers < 0:
            backbone.requires_grad_(True)
            return
        base = backbone.base_model
        blocks = [m for m in base.modules() if isinstance(m, nn.ModuleList)]
        backbone.requires_grad_(True)
        base.requires_grad_(False)
        stack = max(blocks, key=len)
        for block in list(stack)[len(stack) - layers :] if layers else []:
            block.requires_grad_(True)


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


@torch.no_grad()
def silence_terms(network: Network, terms: list[int]) -> None:
    """Make these terms weigh nothing for ever: special tokens would only be wasted postings."""
    bias = network.decoder.bias
    if bias is not None and terms:
        bias[terms] = -1e4
