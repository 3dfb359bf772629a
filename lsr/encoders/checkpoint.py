"""What dense and cross-encoders share: a checkpoint read safely, batches of like length."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import EncoderError
from ..progress import Bar, bar
from .batching import padded, plan
from .folder import Fingerprint, read_object, weight_files
from .model import pick_device
from .quiet import quiet_transformers
from .splade import n_positions
from .tokens import TextTokenizer

Precision = Literal["float32", "bfloat16"]

# Tokens in one batch. On one CPU core larger batches are no faster (gte-small: 4,096 as 16,384).
_BUDGET_CPU = 4_096
_BUDGET_GPU = 65_536
_WINDOW = 16_384  # texts tokenised and sorted together

Encoded = tuple[list[int], list[int]]
"""Token numbers and token types of one text, or of one pair."""


def require_checkpoint(folder: Path) -> None:
    """Raise `EncoderError` for a folder without the configuration or the weights of a network."""
    if not folder.is_dir():
        raise EncoderError(f"{folder}: no such folder; wanted a checkpoint with config.json")
    if not (folder / "config.json").is_file() or not weight_files(folder):
        raise EncoderError(
            f"{folder} has no config.json or no safetensors weights, so it is no checkpoint "
            "that can be used; convert it where you trust it, with save_pretrained"
        )


@dataclass(frozen=True, eq=False)
class Network:
    """A transformers model at rest: no gradient, no dropout, on its device."""

    model: PreTrainedModel
    tokenizer: TextTokenizer
    folder: Path

    @classmethod
    def load(
        cls,
        folder: Path,
        auto: Any,
        *,
        max_length: int | None,
        device: str | None,
        precision: Precision,
        may_miss: tuple[str, ...] = (),
    ) -> "Network":
        """Read a checkpoint with one of transformers' Auto classes: safetensors, no remote code.

        Weights whose names begin with one of `may_miss` may be absent; any other is an
        `EncoderError`, never a random number.
        """
        require_checkpoint(folder)
        try:
            with quiet_transformers():
                model, report = auto.from_pretrained(
                    folder,
                    dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32,
                    use_safetensors=True,
                    trust_remote_code=False,
                    local_files_only=True,
                    output_loading_info=True,
                )
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
            raise EncoderError(f"{folder} cannot be loaded: {error}") from error
        missing = sorted(k for k in report["missing_keys"] if not k.startswith(may_miss))
        if missing or report["mismatched_keys"]:
            named = missing[0] if missing else next(iter(report["mismatched_keys"]))[0]
            raise EncoderError(
                f"{folder}: the weights do not fit {type(model).__name__}, {named} first; a "
                "network with random weights ranks by noise"
            )
        tokenizer = TextTokenizer.load(folder, max_length=_length(folder, model, max_length))
        return cls(model.eval().to(pick_device(device)), tokenizer, folder)

    def fingerprint(self, kind: str, settings: str) -> str:
        """16 hex digits over configuration, weights, tokenizer, length, precision and `settings`:
        all that the scores of an encoder of this `kind` depend on.
        """
        fingerprint = Fingerprint()
        fingerprint.add(kind, settings.encode())
        config = read_object(self.folder / "config.json")
        for key in ("transformers_version", "_name_or_path", "dtype", "torch_dtype"):
            config.pop(key, None)
        fingerprint.add("config", repr(sorted(config.items())).encode())
        for path in weight_files(self.folder):
            fingerprint.add_file("weights", path)
        fingerprint.add("vocabulary", self.tokenizer.vocabulary())
        fingerprint.add("tokenizer", self.tokenizer.files.get("tokenizer.json", b""))
        fingerprint.add("run", f"{self.tokenizer.max_length} {self.model.dtype}".encode())
        return fingerprint.hex()

    def run(
        self,
        n: int,
        *,
        encode: Callable[[slice], list[Encoded]],
        forward: Callable[[PreTrainedModel, dict[str, Tensor]], Tensor],
        width: int,
        desc: str,
        unit: str,
        progress: bool,
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(n, width) float32 of `forward(model, inputs)` for items 0 to n, in their order.

        `encode` gives the tokens of a slice of the items; batches hold items of like length.
        """
        model, device = self.model, self.model.device
        budget = _BUDGET_CPU if device.type == "cpu" else _BUDGET_GPU
        typed = "token_type_ids" in inspect.signature(model.forward).parameters
        result = np.empty((n, width), np.float32)
        done: Bar[None] = bar(total=n, unit=unit, desc=desc, quiet=not progress or None)
        with done, torch.inference_mode():
            for at in range(0, n, _WINDOW):
                items = encode(slice(at, min(n, at + _WINDOW)))
                for batch in plan([len(ids) for ids, _ in items], token_budget=budget):
                    ids, mask = padded([items[i][0] for i in batch], self.tokenizer.pad_id)
                    arrays = {"input_ids": ids, "attention_mask": mask}
                    if typed:
                        arrays["token_type_ids"], _ = padded([items[i][1] for i in batch], 0)
                    inputs = {name: torch.from_numpy(a).to(device) for name, a in arrays.items()}
                    result[at + batch] = forward(model, inputs).float().cpu().numpy()
                    done.update(len(batch))
        return result


def _length(folder: Path, model: PreTrainedModel, wanted: int | None) -> int | None:
    """The wanted length in tokens, checked against the positions the model has."""
    room = n_positions(model)
    if room is None:
        return wanted
    if wanted is not None and wanted > room:
        raise EncoderError(f"{folder} has {room} positions, max_length = {wanted} is too long")
    return wanted or min(room, TextTokenizer.load(folder).max_length or room)
