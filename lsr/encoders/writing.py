"""Write encoder folders that `layout` and stock sentence-transformers both read."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from .card import Card
from .folder import replacing, write_json
from .networks import CLASS_NAMES
from .onnx_side import CLASS_NAME as _ONNX
from .onnx_side import OnnxSide
from .side import OWN_CLASSES, NetworkSide, Settings
from .table import QueryTable

_POOLING = "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling"
_TABLE = (
    "sentence_transformers.sparse_encoder.modules.sparse_static_embedding.SparseStaticEmbedding"
)
_ROUTER = "sentence_transformers.base.modules.router.Router"
_QUERY_FOLDER = "query_0_SparseStaticEmbedding"


def write_siamese(folder: Path, side: NetworkSide, settings: Settings, card: Card) -> None:
    """Write a SPLADE encoder so that this package and stock sentence-transformers read it."""
    with replacing(folder) as fresh:
        classes = _classes(side)
        places = [f"{i}_{name.rpartition('.')[2]}" for i, name in enumerate(classes)]
        if not isinstance(side, OnnxSide):  # where transformers itself finds the checkpoint
            places[0] = ""
        _write_modules(fresh, list(zip(places, classes, strict=True)), settings)
        _write_side(side, [fresh / place for place in places])
        card.write(fresh)


def write_inference_free(
    folder: Path,
    queries: QueryTable,
    documents: NetworkSide | None,
    settings: Settings,
    card: Card,
) -> None:
    """Write an inference-free encoder; without `documents`, only what its queries need."""
    with replacing(folder) as fresh:
        _write_modules(fresh, [("", _ROUTER)], settings)
        types = {_QUERY_FOLDER: _TABLE}
        structure: dict[str, list[str]] = {"query": [_QUERY_FOLDER]}
        if documents is not None:
            _write_route("document", documents, fresh, types, structure)
        _write_router(fresh, types, structure)
        place = fresh / _QUERY_FOLDER
        place.mkdir()
        write_json(place / "config.json", {"frozen": True})
        weights = np.ascontiguousarray(queries.weights)
        save_file({"weight": weights}, place / "model.safetensors", metadata={"format": "pt"})
        queries.tokenizer.write(place)
        card.write(fresh)


def write_separate(
    folder: Path,
    queries: NetworkSide,
    documents: NetworkSide | None,
    settings: Settings,
    card: Card,
) -> None:
    """Write an encoder of two networks; without `documents`, only what its queries need."""
    sides = {"query": queries, "document": documents}
    with replacing(folder) as fresh:
        _write_modules(fresh, [("", _ROUTER)], settings)
        types: dict[str, str] = {}
        structure: dict[str, list[str]] = {}
        for route, side in sides.items():
            if side is not None:
                _write_route(route, side, fresh, types, structure)
        _write_router(fresh, types, structure)
        card.write(fresh)


def _classes(side: NetworkSide) -> list[str]:
    """The classes of the modules of a side; an ONNX graph and a UHD head pool by themselves."""
    if isinstance(side, OnnxSide):
        return [_ONNX]
    pooling = [] if side.own_kind == "uhd" else [_POOLING]
    own = [] if side.own_kind is None else [OWN_CLASSES[side.own_kind]]
    return [CLASS_NAMES[side.kind], *pooling, *own]


def _write_route(
    route: str,
    side: NetworkSide,
    folder: Path,
    types: dict[str, str],
    structure: dict[str, list[str]],
) -> None:
    classes = _classes(side)
    names = [f"{route}_{i}_{name.rpartition('.')[2]}" for i, name in enumerate(classes)]
    types |= dict(zip(names, classes, strict=True))
    structure[route] = names
    _write_side(side, [folder / name for name in names])


def _write_router(folder: Path, types: dict[str, str], structure: dict[str, list[str]]) -> None:
    parameters: dict[str, Any] = {
        "default_route": "document" if "document" in structure else "query",
        "allow_empty_key": True,
        "route_mappings": {},
    }
    router = {"types": types, "structure": structure, "parameters": parameters}
    write_json(folder / "router_config.json", router)


def _write_modules(folder: Path, modules: list[tuple[str, str]], settings: Settings) -> None:
    listed = [
        {"idx": number, "name": str(number), "path": path, "type": class_name}
        for number, (path, class_name) in enumerate(modules)
    ]
    write_json(folder / "modules.json", listed)
    config: dict[str, Any] = {
        "model_type": "SparseEncoder",
        "prompts": {"query": settings.query_prompt, "document": settings.document_prompt},
        "default_prompt_name": None,
        "similarity_fn_name": "dot",
    }
    if settings.max_active_dims is not None:
        config["max_active_dims"] = settings.max_active_dims
    write_json(folder / "config_sentence_transformers.json", config)


def _write_side(side: NetworkSide, places: list[Path]) -> None:
    """Write a module of `_classes(side)` into each of `places`."""
    side.write(places[0])
    if isinstance(side, OnnxSide):
        return
    if side.kind == "masked-lm":
        text = {"method": "forward", "method_output_name": "logits"}
        stock = {
            "transformer_task": "fill-mask",
            "modality_config": {"text": text},
            "module_output_name": "token_embeddings",
        }
        write_json(places[0] / "sentence_bert_config.json", stock)
    if side.own_kind is not None:
        side.write_own(places[-1])
    if side.own_kind == "uhd":
        return
    places[1].mkdir()
    pooled = {
        "pooling_strategy": side.pooling,
        "activation_function": side.activation,
        "embedding_dimension": side.n_terms,
    }
    write_json(places[1] / "config.json", pooled)
