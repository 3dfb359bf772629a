"""SPLADE: a masked-language-model head read as term weights, max-pooled over the text (torch).

Formal et al., arXiv 2109.10086. What a model does with a text is in `model`; here is how one is
read from a transformers checkpoint and written as one.
"""

from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors import SafetensorError

from ..errors import EncoderError, MissingHead
from .folder import write_json
from .model import Activation, Pooling, SparseModel
from .networks import NETWORK_FILE, NetworkKind
from .quiet import quiet_transformers
from .tokens import TextTokenizer

# After `model`, whose import says what to install where torch is absent.
import torch  # isort: skip
from torch import Tensor  # isort: skip
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel  # isort: skip


class SpladeModel(SparseModel):
    """A masked language model whose logits become term weights."""

    @classmethod
    def from_checkpoint(
        cls,
        folder: str | Path,
        *,
        max_length: int | None = None,
        new_head: bool = False,
        seed: int = 0,
        activation: Activation = "relu",
        pooling: Pooling = "max",
        lower_case: bool = False,
    ) -> Self:
        """Load a transformers masked-LM checkpoint (config.json, model.safetensors, tokenizer).

        Raises `MissingHead` if weights of the language-model head are absent, unless `new_head`:
        then the head of the architecture (for BERT: dense, GELU, LayerNorm and a decoder tied to
        the word embeddings) is initialised from `seed`; it must be trained before it means
        anything.
        Weights are float32 whatever the file holds. Runs no code from the folder.
        """
        folder = Path(folder)
        backbone = _load_backbone(folder, new_head=new_head, seed=seed)
        tokenizer = TextTokenizer.load(folder, max_length=max_length, lower_case=lower_case)
        if (positions := n_positions(backbone)) is not None:
            tokenizer = tokenizer.limited(min(tokenizer.max_length or positions, positions))
        n_terms = int(backbone.config.vocab_size)
        if tokenizer.n_tokens > n_terms:
            raise EncoderError(
                f"{folder}: the tokenizer numbers {tokenizer.n_tokens} tokens, the model has "
                f"{n_terms}; the tokenizer belongs to another model"
            )
        return cls(backbone, tokenizer, activation=activation, pooling=pooling)

    def save_checkpoint(self, folder: str | Path) -> None:
        """Write the masked-LM checkpoint with its tokenizer, as transformers lays it out."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with quiet_transformers():
            self.backbone.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.write(folder)


class SpladeTextModel(SpladeModel):
    """A masked language model pooled over the text alone, without [CLS], [SEP] and their like.

    These positions may outweigh the text's own in a maximum (LACONIC, arXiv 2601.01684, saw it with
    decoders). Stock sentence-transformers pools them, so only this package reads such a folder.
    """

    kind: ClassVar[NetworkKind] = "masked-lm-text"

    def pooled_positions(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length) bool: real positions without special tokens."""
        special = torch.tensor(self.tokenizer.special_ids(), device=input_ids.device)
        return super().pooled_positions(input_ids, attention_mask * ~torch.isin(input_ids, special))

    def save_checkpoint(self, folder: str | Path) -> None:
        """As any masked-LM checkpoint, and that special positions are not pooled."""
        super().save_checkpoint(folder)
        write_json(Path(folder) / NETWORK_FILE, {"kind": self.kind})


def _load_backbone(folder: Path, *, new_head: bool, seed: int) -> PreTrainedModel:
    if not (folder / "config.json").is_file():
        raise EncoderError(f"{folder} has no config.json; it is not a transformers checkpoint")
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        raise EncoderError(
            f"{folder} has no safetensors weights"
            + (
                f", only {pickled[0]}, a pickle, which can run code and is not read"
                if pickled
                else ""
            )
            + "; convert it where you trust it: AutoModelForMaskedLM.from_pretrained(old)"
            ".save_pretrained(new)"
        )
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = AutoConfig.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
            backbone, report = AutoModelForMaskedLM.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise EncoderError(
            f"{folder} cannot be loaded as a masked language model: {error}"
        ) from error
    _check_report(folder, backbone, report, new_head=new_head)
    backbone.eval()
    model: PreTrainedModel = backbone
    return model


def n_positions(backbone: PreTrainedModel) -> int | None:
    """The longest input in tokens; None where positions are not counted (relative, rotary)."""
    positions = getattr(backbone.config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    # RoBERTa and its kin number positions from the padding token on.
    embeddings = getattr(backbone.base_model, "embeddings", None)
    first = getattr(embeddings, "padding_idx", None)
    return positions if first is None else positions - int(first) - 1


def _check_report(
    folder: Path, backbone: PreTrainedModel, report: dict[str, Any], *, new_head: bool
) -> None:
    if report["mismatched_keys"]:
        key, *shapes = next(iter(report["mismatched_keys"]))
        raise EncoderError(
            f"{folder}: {key} has shape {tuple(shapes[0])}, config.json asks for "
            f"{tuple(shapes[1])}; weights and configuration belong to different models"
        )
    missing = sorted(report["missing_keys"])
    base = [key for key in missing if key.startswith(f"{backbone.base_model_prefix}.")]
    if base:
        raise EncoderError(
            f"{folder}: {len(base)} weights of the encoder itself are missing, {base[0]} first; "
            "the file is incomplete or belongs to another architecture"
        )
    if missing and not new_head:
        raise MissingHead(
            f"{folder}: {len(missing)} weights of the language-model head are missing, "
            f"{missing[0]} first. SPLADE reads its term weights from that head: use a masked-LM "
            "checkpoint, or train a new head (new_head)"
        )
