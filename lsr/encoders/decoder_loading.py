"""Read a causal language model and its tokenizer: a transformers folder or a GGUF file (torch)."""

import importlib.util
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from ..errors import EncoderError, MissingExtra, MissingHead
from .quiet import quiet_transformers
from .tokens import TextTokenizer

# What some configurations do to logits behind the head, which a head read as term weights lacks.
_BEHIND_THE_HEAD = ("final_logit_softcapping", "logits_scaling", "logit_scale")
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    TypeError,
    SafetensorError,
    struct.error,  # what a cut GGUF file ends in
)


def find_source(source: Path, gguf_file: str | None) -> tuple[Path, str | None]:
    """The folder, and the name of the GGUF file in it, if that is what holds the weights."""
    if source.suffix == ".gguf" and source.is_file():
        return source.parent, source.name
    if not source.is_dir():
        raise EncoderError(f"{source} is neither a checkpoint folder nor a .gguf file")
    if gguf_file is not None:
        if not (source / gguf_file).is_file():
            raise EncoderError(f"{source} has no file {gguf_file}")
        return source, gguf_file
    if (source / "config.json").is_file():
        return source, None
    found = sorted(path.name for path in source.glob("*.gguf"))
    if len(found) != 1:
        raise EncoderError(
            f"{source} has no config.json and {len(found)} .gguf files; name a transformers "
            "checkpoint folder, or one .gguf file"
        )
    return source, found[0]


def load_backbone(folder: Path, gguf: str | None, quantization: Any) -> PreTrainedModel:
    """The causal language model, in float32 unless `quantization` is given."""
    if gguf is not None and importlib.util.find_spec("gguf") is None:
        raise MissingExtra("reading a GGUF checkpoint", extra="train", package="gguf")
    if gguf is None and not any(folder.glob("*.safetensors")):
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        found = (
            f"; {pickled[0]} is a pickle, which can run code, and is not read" if pickled else ""
        )
        raise EncoderError(
            f"{folder} has no safetensors weights{found}. Where you trust it, convert it: "
            "AutoModelForCausalLM.from_pretrained(old).save_pretrained(new)"
        )
    where: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    if gguf is not None:
        where["gguf_file"] = gguf
    if quantization is not None:
        where["quantization_config"] = quantization
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            if gguf is None:
                where["config"] = AutoConfig.from_pretrained(
                    folder, trust_remote_code=False, local_files_only=True
                )
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32 if quantization is None else torch.bfloat16,
                use_safetensors=None if gguf else True,
                output_loading_info=True,
                **where,
            )
            backbone, report = loaded
    except _UNREADABLE as error:
        raise EncoderError(
            f"{folder / (gguf or '')} cannot be loaded as a causal language model: {error}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        fault = MissingHead if all("lm_head" in key for key in missing) else EncoderError
        raise fault(
            f"{folder}: {len(missing)} weights are missing, {missing[0]} first; the file is "
            "incomplete or belongs to another architecture"
        )
    if report["mismatched_keys"]:
        key, *shapes = next(iter(report["mismatched_keys"]))
        raise EncoderError(
            f"{folder}: {key} has shape {tuple(shapes[0])}, config.json asks for "
            f"{tuple(shapes[1])}; weights and configuration belong to different models"
        )
    for name in _BEHIND_THE_HEAD:
        if getattr(backbone.config, name, None) not in (None, 1, 1.0):
            raise EncoderError(
                f"{folder}: {name} = {getattr(backbone.config, name)} changes logits behind the "
                "head, which this package does not follow; use a model of the Llama, Qwen2, Qwen3 "
                "or SmolLM families"
            )
    backbone.eval()
    model: PreTrainedModel = backbone
    return model


def load_tokenizer(
    folder: Path,
    gguf: str | None,
    *,
    max_length: int | None,
    lower_case: bool,
    sink: str | None,
) -> TextTokenizer:
    """The tokenizer of the checkpoint; `sink` puts this special token before every text."""
    if gguf is not None:
        return _from_gguf(folder, gguf, max_length, lower_case, sink)
    tokenizer = TextTokenizer.load(folder, max_length=max_length, lower_case=lower_case)
    if not sink:
        return tokenizer
    with tempfile.TemporaryDirectory() as place:
        tokenizer.write(Path(place))
        _put_first(Path(place), sink)
        return TextTokenizer.load(Path(place), max_length=max_length)


def _from_gguf(
    folder: Path, gguf: str, max_length: int | None, lower_case: bool, sink: str | None
) -> TextTokenizer:
    """By way of the files that transformers would write: only it knows GGUF's vocabularies."""
    with tempfile.TemporaryDirectory() as place:
        try:
            with quiet_transformers():
                stock = AutoTokenizer.from_pretrained(
                    folder, gguf_file=gguf, local_files_only=True, trust_remote_code=False
                )
                stock.save_pretrained(place)
        except _UNREADABLE as error:
            raise EncoderError(f"{folder / gguf} holds no readable tokenizer: {error}") from error
        if sink:
            _put_first(Path(place), sink)
        return TextTokenizer.load(Path(place), max_length=max_length, lower_case=lower_case)


def _put_first(folder: Path, sink: str) -> None:
    """Make `tokenizer.json` frame a text as sink + text."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in content["added_tokens"]}
    if sink not in special:
        raise EncoderError(
            f"the tokenizer has no special token {sink!r} to put before a text; it has "
            f"{', '.join(list(special)[:8]) or 'none'}"
        )
    template = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": sink, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [
            {"SpecialToken": {"id": sink, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 0}},
        ],
        "special_tokens": {sink: {"id": sink, "ids": [special[sink]], "tokens": [sink]}},
    }
    content["post_processor"] = template
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
