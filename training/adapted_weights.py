"""What a checkpoint of a network with adapters holds: them, and not the frozen weights under them.

The frozen weights come from the backbone again: a checkpoint of an 8B model is some ten megabytes
then, and 4-bit weights never need writing. Without adapters everything is written.
"""

from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from lsr.encoders.lora import has_adapters
from lsr.encoders.model import SparseModel
from lsr.errors import EncoderError


def adapted_state(module: nn.Module) -> dict[str, Tensor]:
    """Every tensor of `module` but the frozen ones under adapters; shared tensors once."""
    learning = {id(part.decoder.bias) for part in module.modules() if isinstance(part, SparseModel)}
    biases = {
        name
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if id(parameter) in learning
    }
    state: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict().items():
        under = "backbone." in name and ".lora_" not in name and name not in biases
        if under or (tensor.numel() and tensor.data_ptr() in seen):
            continue
        seen.add(tensor.data_ptr())
        state[name] = tensor
    return state


def save_weights(module: nn.Module, path: Path) -> None:
    """Write one safetensors file that `load_weights` reads."""
    if has_adapters(module):
        state = {name: tensor.contiguous() for name, tensor in adapted_state(module).items()}
        safetensors.torch.save_file(state, path)
    else:
        # save_model keeps one copy of tied weights and never writes a pickle.
        safetensors.torch.save_model(module, str(path))


def load_weights(module: nn.Module, path: Path) -> None:
    """Load what `save_weights` wrote from a module of the same make."""
    if not has_adapters(module):
        safetensors.torch.load_model(module, str(path))
        return
    tensors = safetensors.torch.load_file(path)
    if set(tensors) != set(adapted_state(module)):
        raise EncoderError(
            f"{path} does not hold the adapters of this network; it belongs to another recipe, "
            "start over (--fresh)."
        )
    module.load_state_dict(tensors, strict=False)
