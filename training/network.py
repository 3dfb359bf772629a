"""What training does to a network beside taking steps: freezing layers, dropout, silenced terms."""

import torch
from torch import nn

from lsr.encoders.lora import has_adapters
from lsr.encoders.model import SILENT, SparseModel

from .adapters import learn_adapters


def set_dropout(model: nn.Module, probability: float) -> None:
    """Give every dropout of the network this probability."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def learn_last(model: SparseModel, layers: int) -> None:
    """Let the head and the last `layers` layers learn, nothing else; all layers where there are no
    more, and -1 lets everything.

    Of a network with adapters only these learn, and of its head the bias.
    """
    backbone = model.backbone
    adapted = has_adapters(backbone)
    if adapted:
        learn_adapters(model)
    else:
        backbone.requires_grad_(True)
    if layers < 0:
        return
    base = backbone.base_model
    stack = max((m for m in base.modules() if isinstance(m, nn.ModuleList)), key=len)
    if adapted:
        for block in list(stack)[: max(0, len(stack) - layers)]:
            block.requires_grad_(False)
        return
    base.requires_grad_(False)
    for block in list(stack)[max(0, len(stack) - layers) :]:
        block.requires_grad_(True)


@torch.no_grad()
def silence_terms(model: SparseModel, terms: list[int]) -> None:
    """Make these terms weigh nothing for ever: special tokens would only be wasted postings."""
    bias = model.decoder.bias
    if bias is not None and terms:
        bias[terms] = SILENT
