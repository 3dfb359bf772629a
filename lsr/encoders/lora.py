"""The weights of a network with low-rank adapters as if it had none (torch; peft if there are any).

W' = W + scale * B A        LoRA, arXiv 2106.09685
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of `module` with its adapters merged, named as before they were added.

    `module` is not changed. 4-bit weights (QLoRA) come out merged, in the precision of the others.
    """
    adapted = {
        name: part
        for name, part in module.named_modules()
        if _is_adapted(part) or (_is_quantised(part) and not name.endswith(".base_layer"))
    }
    if not adapted:
        return module.state_dict()
    from peft.utils.integrations import dequantize_module_weight

    inside = tuple(f"{name}." for name in adapted)
    state = {
        name: tensor for name, tensor in module.state_dict().items() if not name.startswith(inside)
    }
    for name, part in adapted.items():
        base = part.get_base_layer() if _is_adapted(part) else part
        weight = dequantize_module_weight(base)
        for adapter in part.active_adapters if _is_adapted(part) else ():
            delta = part.get_delta_weight(adapter).to(weight.device)
            weight = (weight + delta).to(weight.dtype)
        state[f"{name}.weight"] = weight.detach()
        if base.bias is not None:
            state[f"{name}.bias"] = base.bias.detach()
    return state


def has_adapters(module: nn.Module) -> bool:
    """Whether any layer carries a low-rank adapter."""
    return any(_is_adapted(part) for part in module.modules())


def _is_adapted(part: nn.Module) -> bool:
    return hasattr(part, "lora_A") and hasattr(part, "get_delta_weight")


def _is_quantised(part: nn.Module) -> bool:
    return hasattr(getattr(part, "weight", None), "quant_state")
