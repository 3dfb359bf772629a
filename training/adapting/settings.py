"""The recipe of an adaptation: train an encoder on from where it is, as sparse as it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsr.encoders import (
    InferenceFreeEncoder,
    SeparateEncoder,
    SparseEncoder,
    SpladeEncoder,
    TransformerSide,
)
from lsr.errors import EncoderError
from lsr.shipped import encoder_place
from lsr.systems import BM25, CROSS_ENCODER, DENSE

from ..recipe import Recipe, make_recipe

Adaptable = InferenceFreeEncoder | SeparateEncoder | SpladeEncoder

_ACTIVATIONS = {"relu": "log1p", "log1p_relu": "double-log1p"}
_LENGTH = 128
_SAMPLED_TERMS = 2_048  # of inference-free-mini: half of the cost of a step saved


def check_adaptable(encoder: SparseEncoder, name: str) -> Adaptable:
    """The encoder, if its document network is one that training can start from."""
    if not isinstance(encoder, InferenceFreeEncoder | SeparateEncoder | SpladeEncoder):
        raise EncoderError(
            f"{name}: BM25 has nothing to train; name the folder of a learned encoder, and `lsr "
            "join` it with words afterwards"
        )
    side = document_side(encoder)
    if side.kind == "decoder" or side.own_kind is not None:
        raise EncoderError(
            f"{name}: only encoders over a masked-LM network are adapted, this one is "
            f"'{side.own_kind or side.kind}'; train it by a recipe (lsr train)"
        )
    return encoder


def document_side(encoder: Adaptable) -> TransformerSide:
    """The network of the documents."""
    side = encoder.side if isinstance(encoder, SpladeEncoder) else encoder.documents
    if not isinstance(side, TransformerSide):
        raise EncoderError(
            f"encoder '{encoder.name}' has no trainable document network (it holds queries alone); "
            "adapt the encoder it was made from"
        )
    return side


def training_length(encoder: Adaptable) -> int:
    """Tokens of a document that training reads."""
    return min(_LENGTH, document_side(encoder).tokenizer.max_length or _LENGTH)


def adapt_recipe(
    encoder: Adaptable,
    start: Path,
    collection: Path,
    *,
    name: str,
    document_terms: float,
    query_terms: float,
    steps: int,
    batch: int,
    negatives: int,
    learning_rate: float,
    teacher: str,
    seed: int,
    words: float,
    settings: Mapping[str, Any],
) -> Recipe:
    """`start` is the folder of the encoder to begin from, with its table; lengths are kept as they
    are by the controller. `words` is the weight of BM25's words beside the network, 0 for none.
    `settings` are dotted keys that replace what stands here.
    """
    side = document_side(encoder)
    max_length = side.tokenizer.max_length or 256
    free = isinstance(encoder, InferenceFreeEncoder)
    kind = "inference-free" if free else "siamese"
    model: dict[str, Any] = {
        "backbone": str(start),
        "kind": "separate" if isinstance(encoder, SeparateEncoder) else kind,
        "activation": _ACTIVATIONS[side.activation],
        "pooling": side.pooling,
        "pool_special": side.kind == "masked-lm",
        "query_prompt": encoder.settings.query_prompt,
        "document_prompt": encoder.settings.document_prompt,
        "max_length": max_length,
        "query_length": min(64, max_length),
        "dropout": 0.0,
    }
    if encoder.settings.max_active_dims is not None:
        model["max_active_terms"] = encoder.settings.max_active_dims
    if free:
        model["query_table"] = "kept"
    if isinstance(encoder, SeparateEncoder):
        model["query_backbone"] = str(start)
    # A run is short: with the ordinary rate of 0.02 and a ramp, documents of 142 terms had 349
    # after 60 steps; with these, 150, and they ranked better (Cranfield, MiniLM).
    controller: dict[str, Any] = {"documents": max(1, round(document_terms)), "rate": 0.1}
    sparsity: dict[str, Any] = {"documents": 0.02, "ramp": 1}
    if not free:
        controller["queries"] = max(1, round(query_terms))
        sparsity["queries"] = 0.02
    ranking: dict[str, Any] = {
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "warmup_steps": steps // 10,
        "max_length": training_length(encoder),
        # Sums of idf are some five times larger than products of two log weights.
        "scale": 0.2 if free else 1.0,
        "losses": {"info_nce": 1.0},
        "sparsity": sparsity,
        "controller": controller,
    }
    if words:
        # What the shipped encoder was trained with: words make scores of a good match run higher.
        ranking |= {"words": words, "scale": 0.08}
        # At that scale the ranking pulls less. `lsr-mini` on CISI, 271 terms wanted, 60 steps: 214
        # to 362 from here, 134 to 327 from 0.02 after a ramp of 20, 147 to 311 from 0.02.
        sparsity["documents"] = 0.003
    if free and encoder.n_terms > 2 * _SAMPLED_TERMS:
        ranking["sampled_terms"] = _SAMPLED_TERMS
    table: dict[str, Any] = {
        "name": name,
        "description": f"{encoder.name}, adapted",
        "model": model,
        "data": {"train": [str(collection)], "negatives": negatives},
        "stage": {"ranking": ranking},
        "run": {"seed": seed, "log_every": 20, "checkpoint_every": 50},
    }
    if teacher:
        table["teachers"] = [_teacher(teacher)]
        table["distillation"] = {"candidates": 8}
        ranking["losses"]["kl"] = 1.0
    return make_recipe(table, collection.parent / "recipe", settings)


def _teacher(name: str) -> dict[str, str]:
    if name == BM25:
        return {"kind": "bm25"}
    for prefix in (DENSE, CROSS_ENCODER):
        if name.startswith(prefix):
            folder = Path(name.removeprefix(prefix)).absolute()
            return {"kind": prefix.rstrip(":"), "model": str(folder)}
    return {"kind": "sparse", "model": str(encoder_place(name).absolute())}
