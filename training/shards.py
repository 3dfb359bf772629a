"""Weights in float16 as safetensors files of limited size, for places that take no larger ones.

A folder holds `weights-00001.safetensors` and so on, and `weights.json`:

    {"files": [...], "tensors": {name: shape}, "same": {name: name of the tensor it is tied to}}

A tensor larger than a file is split by rows over several files, under its own name in each.
"""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from lsr.encoders.folder import read_object, write_json
from lsr.errors import EncoderError

LIMIT = 15_000_000
"""Bytes of the largest file: what mail, chat and code hosts commonly still take."""
INDEX = "weights.json"
# safetensors' header: up to 100 bytes of JSON for a tensor beside its name, and alignment.
_HEADER, _HEADER_PER_TENSOR = 1024, 160


def learned(module: nn.Module) -> dict[str, Tensor]:
    """What training changes: the state dict without the parameters that are frozen, nor what a
    frozen one in 4 bits keeps beside itself (`weight.absmax` and so on).
    """
    frozen = {
        name
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad
    }
    beside = tuple(f"{name}." for name in frozen)
    return {
        name: value
        for name, value in module.state_dict().items()
        if name not in frozen and not name.startswith(beside)
    }


def write_shards(
    tensors: Mapping[str, Tensor],
    folder: Path,
    *,
    exact: frozenset[str] = frozenset(),
    limit: int = LIMIT,
) -> None:
    """Write `tensors` in files of at most `limit` bytes, the index last.

    Floating-point tensors become float16, clipped to its range, but for those named in `exact`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept: dict[tuple[int, torch.Size, tuple[int, ...]], str] = {}
    same: dict[str, str] = {}
    files: list[str] = []
    pending: dict[str, Tensor] = {}
    used = _HEADER

    def flush() -> None:
        nonlocal used
        if pending:
            file = f"weights-{len(files) + 1:05}.safetensors"
            safetensors.torch.save_file(pending, str(folder / file))
            assert (folder / file).stat().st_size <= limit, f"{file} outgrew its limit"
            files.append(file)
            pending.clear()
            used = _HEADER

    shapes: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        identity = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and identity in kept:
            same[name] = kept[identity]
            continue
        kept[identity] = name
        shapes[name] = list(tensor.shape)
        left = tensor.detach().cpu().contiguous()
        if left.is_floating_point() and name not in exact:
            top = torch.finfo(torch.float16).max
            left = left.clamp(-top, top).to(torch.float16)
        overhead = _HEADER_PER_TENSOR + len(name.encode())
        while True:
            room = limit - used - overhead
            if left.nbytes <= room:
                pending[name] = left
                used += overhead + left.nbytes
                break
            row = left[:1].nbytes if left.ndim else left.nbytes
            rows = max(0, room) // row
            if left.ndim and rows:
                pending[name], left = left[:rows].contiguous(), left[rows:].contiguous()
            elif not pending:
                raise EncoderError(
                    f"{folder}: one row of {name} has {row:,} bytes and does not fit into a file "
                    f"of {limit:,}; keep full checkpoints instead (run.checkpoint)."
                )
            flush()
    flush()
    write_json(folder / INDEX, {"files": files, "tensors": shapes, "same": same})


def read_shards(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder, whole again, in the types they were written in."""
    index = read_object(folder / INDEX)
    parts: dict[str, list[Tensor]] = {name: [] for name in index["tensors"]}
    for file in index["files"]:
        for name, part in safetensors.torch.load_file(folder / file).items():
            parts[name].append(part)
    tensors: dict[str, Tensor] = {}
    for name, shape in index["tensors"].items():
        whole = torch.cat(parts[name]) if len(parts[name]) > 1 else parts[name][0]
        if list(whole.shape) != shape:
            raise EncoderError(
                f"{folder}: {name} has shape {list(whole.shape)}, {INDEX} says {shape}; a file is "
                "damaged, resume from another checkpoint or start over (--fresh)."
            )
        tensors[name] = whole
    return tensors | {name: tensors[kept] for name, kept in index["same"].items()}


def write_learned(module: nn.Module, folder: Path) -> None:
    """Write what training changes of `module`; buffers, such as a controller's, keep their bits."""
    buffers = frozenset(name for name, _ in module.named_buffers(remove_duplicate=False))
    write_shards(learned(module), folder, exact=buffers)


def read_into(module: nn.Module, folder: Path) -> None:
    """Load tensors into `module`; only frozen parameters may be missing from the folder."""
    tensors = read_shards(folder)
    result = module.load_state_dict(tensors, strict=False)
    missing = sorted(set(learned(module)) & set(result.missing_keys))
    if missing or result.unexpected_keys:
        names = ", ".join((missing or sorted(result.unexpected_keys))[:3])
        raise EncoderError(
            f"{folder} does not fit the network: {'missing' if missing else 'unknown'} {names}; it "
            "belongs to another recipe, start over (--fresh)."
        )
