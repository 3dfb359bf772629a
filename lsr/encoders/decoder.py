"""Decoder language models as sparse encoders: causal, bidirectional or echo (torch).

    features[i] = scale * hidden[i]                           scale: Lion-SP's width^(-1/4), or 1
    logits[i]   = features[i] @ decoder + bias                bias: -shift; -1e4 for special terms
    weight[t]   = activation(max, sum or last over the pooled positions)

The heads of Llama and Qwen have no bias, so one is added: calibration shifts it, training learns
it, special and unused token numbers are silenced by it. It lies in `head.safetensors`, beside a
checkpoint that transformers reads as ever. Positions before the text (BOS) attract attention and
their logits are the same for every text, so they are not pooled; those of a prompt are, as in
sentence-transformers. Texts are padded on the right.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import orjson
from safetensors import SafetensorError

from ..errors import EncoderError
from .decoder_settings import DecoderSettings
from .folder import read_object, write_json
from .model import SILENT, Activation, Pooling, SparseModel, silenced
from .networks import NETWORK_FILE, NetworkKind
from .tokens import TextTokenizer

# After `model`, whose import says what to install where torch is absent.
import safetensors.torch  # isort: skip
import torch  # isort: skip
from torch import Tensor, nn  # isort: skip
from transformers import PreTrainedModel  # isort: skip

from .decoder_loading import find_source, load_backbone, load_tokenizer  # isort: skip
from .lora import merged_state  # isort: skip

HEAD_FILE = "head.safetensors"


class DecoderModel(SparseModel):
    """A causal language model whose logits become term weights."""

    kind: ClassVar[NetworkKind] = "decoder"

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: TextTokenizer,
        *,
        settings: DecoderSettings | None = None,
        activation: Activation = "relu",
        pooling: Pooling = "max",
        bias: Tensor | None = None,
    ) -> None:
        """`bias` is (vocab,); left out, special and unused terms are silent and others 0."""
        super().__init__(backbone, tokenizer, activation=activation, pooling=pooling)
        self.settings = settings or DecoderSettings()
        head = self.decoder
        special = torch.tensor(tokenizer.special_ids(), dtype=torch.int64)
        if bias is None:
            bias = torch.zeros(head.out_features) if head.bias is None else head.bias.detach()
            bias = bias.clone()
            bias[special] = SILENT
            bias[tokenizer.n_tokens :] = SILENT
        head.bias = nn.Parameter(bias.to(head.weight.device, torch.float32))
        self.special: Tensor
        self.register_buffer("special", special.to(head.weight.device), persistent=False)

    @classmethod
    def from_checkpoint(
        cls,
        source: str | Path,
        *,
        gguf_file: str | None = None,
        settings: DecoderSettings | None = None,
        max_length: int | None = None,
        activation: Activation = "relu",
        pooling: Pooling = "max",
        lower_case: bool = False,
        sink: str | None = None,
        quantization: Any = None,
    ) -> "DecoderModel":
        """Load a causal-LM checkpoint folder, a `.gguf` file, or what `save_checkpoint` wrote.

        `gguf_file` names the file in a folder of several. `settings` left out are those of the
        folder, else the defaults. `sink` is a special token put before every text, for tokenizers
        that put none: without one the first word is the attention sink. Weights are float32 unless
        `quantization` (a transformers configuration) says otherwise. Runs no code from the folder.
        """
        folder, gguf = find_source(Path(source), gguf_file)
        if settings is None:
            path = folder / NETWORK_FILE
            settings = (
                DecoderSettings.of(read_object(path), named_in=path)
                if path.is_file()
                else DecoderSettings()
            )
        backbone = load_backbone(folder, gguf, quantization)
        tokenizer = load_tokenizer(
            folder, gguf, max_length=max_length, lower_case=lower_case, sink=sink
        )
        positions = int(backbone.config.max_position_embeddings) // (2 if settings.echo else 1)
        tokenizer = tokenizer.limited(min(tokenizer.max_length or positions, positions))
        n_terms = int(backbone.config.vocab_size)
        if tokenizer.n_tokens > n_terms:
            raise EncoderError(
                f"{source}: the tokenizer numbers {tokenizer.n_tokens} tokens, the model has "
                f"{n_terms}; the tokenizer belongs to another model"
            )
        return cls(
            backbone,
            tokenizer,
            settings=settings,
            activation=activation,
            pooling=pooling,
            bias=_read_bias(folder, n_terms),
        )

    @torch.no_grad()
    def centre_head(self) -> None:
        """Make every position's logits average 0 over the vocabulary, once and for all.

        A softmax head is indifferent to a number added to all logits of a position, and language
        models use that freedom: SmolLM2's positions average anything from -1 to 19. A maximum over
        positions compares them, so the mean row is taken off the decoder, which is no longer tied.
        """
        head = self.decoder
        weight = head.weight.detach()
        used = weight[: self.tokenizer.n_tokens]
        head.weight = nn.Parameter(weight - used.mean(dim=0))
        self.backbone.config.tie_word_embeddings = False

    @torch.no_grad()
    def shift(self, amount: float) -> None:
        """Subtract a number from every logit."""
        bias = self.decoder.bias
        bias[~silenced(bias)] -= amount

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length, width): scaled last hidden states, in an echo those of the second copy.

        Row by row they are aligned with `input_ids`; tokens before the text, which an echo does not
        repeat, have those of the first copy.
        """
        if not self.settings.echo:
            hidden = self._hidden(input_ids, attention_mask)
        else:
            ids, mask, second = self._doubled(input_ids, attention_mask)
            hidden = self._hidden(ids, mask)
            hidden = hidden.gather(1, second.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        return hidden * self.settings.logit_scale if self.settings.logit_scale != 1 else hidden

    def next_token_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length, width): what a causal pass over the text alone gives the decoder.

        Whatever the settings say: position i has not seen token i + 1, so it may be asked for it.
        """
        hidden = self._hidden(input_ids, attention_mask, attention="causal")
        return hidden * self.settings.logit_scale

    def pooled_positions(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length) bool: real positions without what `settings.exclude` names."""
        special = torch.isin(input_ids, self.special)
        mask = attention_mask
        if self.settings.exclude == "special":
            mask = mask * ~special
        elif self.settings.exclude == "bos" or self.settings.echo:
            mask = mask * ~_leading(special)
        return super().pooled_positions(input_ids, mask)

    def pooled(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        terms: Tensor | None = None,
        *,
        features: Tensor | None = None,
    ) -> Tensor:
        """As everywhere; the last position is picked before the product with the vocabulary."""
        if features is None:
            features = self.features(input_ids, attention_mask)
        if self.pooling != "last":
            return super().pooled(input_ids, attention_mask, terms, features=features)
        kept = self.pooled_positions(input_ids, attention_mask)
        rows = torch.arange(len(features), device=features.device)
        logits = self.logits(features[rows, kept.int().argmax(dim=1)], terms).float()
        return logits.masked_fill(~kept.any(dim=1, keepdim=True), float("-inf"))

    def save_checkpoint(self, folder: str | Path) -> None:
        """Write a causal-LM checkpoint, the head's bias, the settings and the tokenizer.

        Adapters are merged into what is written, and quantised weights come out in full; the model
        itself stays as it is.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = merged_state(self.backbone)
        head = next(name for name, m in self.backbone.named_modules() if m is self.decoder)
        bias = state.pop(f"{head}.bias").cpu()
        if self.backbone.config.tie_word_embeddings:
            del state[f"{head}.weight"]
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        safetensors.torch.save_file(
            tensors, folder / "model.safetensors", metadata={"format": "pt"}
        )
        safetensors.torch.save_file({"bias": bias}, folder / HEAD_FILE, metadata={"format": "pt"})
        config = self.backbone.config.to_dict()
        config.pop("quantization_config", None)
        config["architectures"] = [type(self.backbone).__name__]
        config["dtype"] = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
        raw = orjson.dumps(config, default=str, option=orjson.OPT_NON_STR_KEYS)
        write_json(folder / "config.json", orjson.loads(raw))
        write_json(folder / NETWORK_FILE, self.settings.content())
        self.tokenizer.write(folder)

    def _hidden(
        self, input_ids: Tensor, attention_mask: Tensor, *, attention: str | None = None
    ) -> Tensor:
        mask = attention_mask
        if (attention or self.settings.attention) == "bidirectional":
            mask = _everything_seen(self.backbone, attention_mask)
        hidden: Tensor = self.backbone.base_model(
            input_ids=input_ids, attention_mask=mask, use_cache=False
        ).last_hidden_state
        return hidden

    def _doubled(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens and mask of text + text, (batch, up to 2 length), and where the second copy is.

        BOS text EOS becomes BOS text text EOS, for each row at its own length.
        """
        real = mask != 0
        special = torch.isin(ids, self.special)
        before = (_leading(special) & real).sum(dim=1, keepdim=True)
        length = real.sum(dim=1, keepdim=True)
        # Tokens after the text: special from some position to the end of the row.
        after = (_leading((special | ~real).flip(1)).flip(1) & real).sum(dim=1, keepdim=True)
        after = torch.minimum(after, length - before)
        shift = length - before - after
        at = torch.arange(2 * ids.shape[1], device=ids.device).unsqueeze(0)
        source = torch.where(at < length - after, at, at - shift)
        doubled_mask = (at < length + shift).to(mask.dtype)
        longest = int(doubled_mask.sum(dim=1).max().clamp(min=1))
        doubled = ids.gather(1, source.clamp(0, ids.shape[1] - 1))
        own = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
        second = torch.where(own < before, own, own + shift).clamp(max=longest - 1)
        return doubled[:, :longest], doubled_mask[:, :longest], second


def lion_scale(width: int) -> float:
    """The logit scale of Lion-SP (arXiv 2502.15526) for hidden states of this width.

    >>> lion_scale(4096)
    0.125
    """
    return float(width**-0.25)


def with_settings(model: DecoderModel, **changes: Any) -> DecoderModel:
    """The same network, sharing its weights, under other settings."""
    return DecoderModel(
        model.backbone,
        model.tokenizer,
        settings=replace(model.settings, **changes),
        activation=model.activation,
        pooling=model.pooling,
        bias=model.decoder.bias.detach(),
    )


def _leading(marked: Tensor) -> Tensor:
    """(batch, length) bool: the marked positions before the first that is not."""
    return marked.int().cumprod(dim=1).bool()


def _everything_seen(backbone: PreTrainedModel, mask: Tensor) -> Tensor:
    """(batch, 1, length, length): every position sees every real one.

    A mask of four dimensions is used as it is by every version of transformers; a flag in the
    configuration is not, and a flag lost on the way back from disk would make the model causal.
    """
    name = backbone.config._attn_implementation
    if name not in ("eager", "sdpa"):
        raise EncoderError(
            f"bidirectional attention needs the attention implementation eager or sdpa, the model "
            f"uses {name}; load it with one of them"
        )
    real = mask != 0
    # A row of padding alone would divide by zero.
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    real = real | (~real.any(dim=1, keepdim=True) & first)
    length = mask.shape[1]
    seen = real[:, None, None, :].expand(-1, 1, length, length)
    if name == "sdpa":
        return seen
    dtype = next(backbone.parameters()).dtype
    closed = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=mask.device)
    return torch.where(seen, torch.zeros_like(closed), closed)


def _read_bias(folder: Path, n_terms: int) -> Tensor | None:
    path = folder / HEAD_FILE
    if not path.is_file():
        if (folder / NETWORK_FILE).is_file():
            raise EncoderError(f"{path} is missing; copy or download the encoder again")
        return None
    try:
        bias = safetensors.torch.load_file(path).get("bias")
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"{path} cannot be read ({error}); copy or download it again") from error
    if bias is None or tuple(bias.shape) != (n_terms,):
        raise EncoderError(
            f"{path}: a bias of {n_terms} numbers was expected, got "
            f"{None if bias is None else tuple(bias.shape)}; it belongs to another encoder"
        )
    return bias
