"""SPLADE: a masked-language-model head read as term weights, max-pooled over the text (torch).

    weight[t] = activation(max over positions i of logit[i, t])        activation: log1p(relu(x))

The activation is monotone, so the maximum is taken first and the activation is applied to
(batch, vocab) values instead of (batch, length, vocab). Formal et al., arXiv 2109.10086.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError
from scipy import sparse

from ..errors import EncoderError, MissingExtra, MissingHead
from ..types import SparseMatrix
from .batching import Tokens, keep_largest
from .tokens import TextTokenizer

try:
    import torch
    from torch import Tensor, nn
    from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel
    from transformers.utils import logging as transformers_logging
except ImportError as missing:
    raise MissingExtra(
        "a SPLADE model", extra="train", package=missing.name or "transformers"
    ) from None

Activation = Literal["relu", "log1p_relu"]
Pooling = Literal["max", "sum"]


class SpladeModel(nn.Module):
    """A masked language model whose logits become term weights.

    `activation` is `relu` for log1p(relu(x)) or `log1p_relu` for log1p(log1p(relu(x))), the names
    of the stock `SpladePooling`. `pooling="sum"` (SPLADE v1) is there to read old checkpoints.
    """

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
    ) -> "SpladeModel":
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
        if (positions := _n_positions(backbone)) is not None:
            tokenizer = tokenizer.limited(min(tokenizer.max_length or positions, positions))
        n_terms = int(backbone.config.vocab_size)
        if tokenizer.n_tokens > n_terms:
            raise EncoderError(
                f"{folder}: the tokenizer numbers {tokenizer.n_tokens} tokens, the model has "
                f"{n_terms}; the tokenizer belongs to another model"
            )
        return cls(backbone, tokenizer, activation=activation, pooling=pooling)

    @property
    def n_terms(self) -> int:
        """Columns of the output: the vocabulary of the language model."""
        return int(self.backbone.config.vocab_size)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """(batch, length) token numbers and 0/1 mask to (batch, vocab) float32 weights >= 0.

        Positions whose mask is 0 take no part. One (batch, length, vocab) tensor is held.
        """
        extra = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits: Tensor = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, **extra
        ).logits
        hidden = (attention_mask == 0).unsqueeze(-1)
        if self.pooling == "max":
            # In place: the backward pass of the decoder needs its input, not its output.
            pooled = logits.masked_fill_(hidden, float("-inf")).max(dim=1).values
            return self._activate(pooled.float())
        return self._activate(logits.masked_fill_(hidden, float("-inf")).float()).sum(dim=1)

    def _activate(self, logits: Tensor) -> Tensor:
        weights = torch.log1p(torch.relu(logits))
        return torch.log1p(weights) if self.activation == "log1p_relu" else weights

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    @torch.inference_mode()
    def encode_tokens(
        self,
        tokens: Tokens,
        *,
        top_k: int | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
    ) -> SparseMatrix:
        """One batch of token lists, special tokens included, to rows of weights."""
        longest = max(map(len, tokens))
        ids = np.full((len(tokens), longest), self.tokenizer.pad_id, np.int64)
        mask = np.zeros((len(tokens), longest), np.int64)
        for row, numbers in enumerate(tokens):
            ids[row, : len(numbers)] = numbers
            mask[row, : len(numbers)] = 1
        was_training = self.training
        self.eval()
        try:
            device = self.device
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                weights = self(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        finally:
            self.train(was_training)
        if not bool(torch.isfinite(weights).all()):
            raise EncoderError(
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
        """Write the masked-LM checkpoint with its tokenizer, as transformers lays it out."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with _quiet_transformers():
            self.backbone.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.write(folder)


def pick_device(name: str | None) -> torch.device:
    """The named torch device; None takes the first GPU, or the CPU where there is none."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise EncoderError(f"no torch device is called {name!r}: {error}") from None


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
        with _quiet_transformers(), torch.random.fork_rng(devices=[]):
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


def _n_positions(backbone: PreTrainedModel) -> int | None:
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


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep its loading report and bars off the terminal; what matters is raised as an error."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
