"""The one folder layout of encoders: that of the SparseEncoder of sentence-transformers.

    modules.json                       what the folder is; class names, matched against a fixed list
    config_sentence_transformers.json  prompts and the cap on active terms
    lsr.json                           our side card; absent in folders made elsewhere
    siamese         config.json, model.safetensors, tokenizer.json, 1_SpladePooling/config.json
    inference-free  router_config.json; query_0_SparseStaticEmbedding/ (tokenizer, table),
                    document_0_Transformer/, document_1_SpladePooling/
    separate        router_config.json; query_0_Transformer/, query_1_SpladePooling/, and the
                    two of the documents
    literal         after the two, a LiteralResidual (PROSPER); only this package knows its class
    UHD             config.json, model.safetensors, tokenizer.json, 1_UHDHead/ instead of the
                    pooling; only this package knows its class
    ONNX            the same three, with an OnnxTransformer (graph, config.json, tokenizer) where
                    they have Transformer + SpladePooling; only this package knows its class
    decoders        the same three, with lsr_network.json beside config.json; only this package
                    knows their class
    BM25            bm25.json, terms.txt, df.safetensors; only this package knows its class
    joined          joined.json, learned/ (inference-free) and words/ (BM25), each a folder of its
                    own; only this package knows its class

A folder without modules.json but with a masked-LM config.json (naver SPLADE) is a siamese SPLADE.
Nothing is imported by name, unpickled or executed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import EncoderError, MissingHead
from ..shipped import ENCODERS, encoder_place
from . import bm25, joined, onnx_side
from .card import Card
from .folder import inside, read_json, read_object
from .inference_free import InferenceFreeEncoder
from .networks import CLASS_NAMES, NETWORK_FILE, architecture_suffix, network_kind
from .onnx_side import OnnxSide
from .protocol import SparseEncoder
from .separate import SeparateEncoder
from .siamese import SpladeEncoder
from .side import OWN_CLASSES, NetworkSide, OwnModule, Precision, Settings, TransformerSide
from .table import QueryTable, read_table
from .tokens import TextTokenizer

Kind = Literal[
    "transformer", "pooling", "table", "router", "bm25", "onnx", "literal", "uhd", "joined"
]

_ST = "sentence_transformers"
_KINDS: dict[str, Kind] = {
    f"{_ST}.base.modules.transformer.Transformer": "transformer",
    f"{_ST}.models.Transformer": "transformer",
    f"{_ST}.models.Transformer.Transformer": "transformer",
    f"{_ST}.sparse_encoder.modules.mlm_transformer.MLMTransformer": "transformer",
    f"{_ST}.sparse_encoder.models.MLMTransformer": "transformer",
    f"{_ST}.sparse_encoder.models.MLMTransformer.MLMTransformer": "transformer",
    f"{_ST}.sparse_encoder.modules.splade_pooling.SpladePooling": "pooling",
    f"{_ST}.sparse_encoder.models.SpladePooling": "pooling",
    f"{_ST}.sparse_encoder.models.SpladePooling.SpladePooling": "pooling",
    f"{_ST}.sparse_encoder.modules.sparse_static_embedding.SparseStaticEmbedding": "table",
    f"{_ST}.sparse_encoder.models.SparseStaticEmbedding": "table",
    f"{_ST}.sparse_encoder.models.SparseStaticEmbedding.SparseStaticEmbedding": "table",
    f"{_ST}.base.modules.router.Router": "router",
    f"{_ST}.models.Router": "router",
    f"{_ST}.models.Router.Router": "router",
    CLASS_NAMES["masked-lm-text"]: "transformer",
    CLASS_NAMES["decoder"]: "transformer",
    bm25.CLASS_NAME: "bm25",
    joined.CLASS_NAME: "joined",
    onnx_side.CLASS_NAME: "onnx",
    OWN_CLASSES["literal"]: "literal",
    OWN_CLASSES["uhd"]: "uhd",
}
"""Every class name that is read, in the spellings of sentence-transformers 5 and 6."""

_NETWORKS: list[list[Kind]] = [
    ["transformer", "pooling"],
    ["transformer", "pooling", "literal"],
    ["transformer", "uhd"],
    ["onnx"],
]
"""The module sequences that make a side of an encoder."""

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class _Module:
    kind: Kind
    folder: Path
    named: bool = True
    """In a file of the folder; a module that is only assumed may be missing."""


def load_encoder(
    folder: str | Path,
    *,
    queries_only: bool = False,
    device: str | None = None,
    precision: Precision = "float32",
) -> SparseEncoder:
    """Load the encoder in `folder`, a shipped one by name (`shipped.ENCODERS`), or one of the hub.

    Torch waits until it is needed. A hub name is `owner/name` and may end in `@revision`: a branch,
    a tag or a commit.

    With `queries_only` a folder that `save(..., queries_only=True)` wrote will do. `device` names a
    torch device for the network; by default the first GPU, or the CPU. `precision="bfloat16"` makes
    the network's products in bfloat16, on many processors several times as many a second; weights
    move by some hundredths. Raises `EncoderError`.
    """
    path = encoder_place(folder)
    name = Path(folder).resolve().name
    if not path.is_dir():
        if str(folder).lower() == "bm25":
            raise EncoderError(
                "bm25 is fitted to documents and lies in no folder of its own: "
                "BM25Encoder.fit(texts), or the folder `encoder` of an index that was built by it"
            )
        if path.exists() or not HUB_NAME.fullmatch(str(folder)):
            raise EncoderError(
                f"there is no encoder folder at {folder}; give the path of a folder, the name "
                f"owner/name of an encoder on the hub, or {' or '.join(ENCODERS)}"
            )
        from .hub import download

        path = download(str(folder))
        name = name.partition("@")[0]
    if any((path / name).is_file() for name in ("catalog.sqlite", "shards.json")):
        raise EncoderError(
            f"{path} is an index, no encoder; what reads its queries is "
            f"index.query_encoder(index), and lies in {path / 'encoder'} where there is a copy"
        )
    card = Card.read(path, name=name)
    if card.queries_only and not queries_only:
        raise EncoderError(
            f"{path} holds only the query side of '{card.name}'; load the whole encoder to encode "
            "documents"
        )
    settings = _read_settings(path)
    modules = _read_modules(path)
    kinds = [module.kind for module in modules]
    if kinds == ["bm25"]:
        return bm25.BM25Encoder.load(path)
    if kinds == ["joined"]:
        learned = load_encoder(
            path / joined.LEARNED, queries_only=queries_only, device=device, precision=precision
        )
        return joined.read_joined(path, card, learned)
    if kinds in _NETWORKS:
        side = _read_network(modules, device, precision)
        return SpladeEncoder(side, card, settings, path)
    if kinds == ["router"]:
        return _read_router(path, modules[0].folder, card, settings, device, precision)
    raise EncoderError(
        f"{path / 'modules.json'}: modules {' + '.join(kinds) or '(none)'} are no encoder of this "
        "package; it reads Transformer + SpladePooling, and a Router of the two with a "
        "SparseStaticEmbedding for queries"
    )


def _read_modules(folder: Path) -> list[_Module]:
    path = folder / "modules.json"
    if not path.exists():
        if not (folder / "config.json").is_file():
            raise EncoderError(
                f"{folder} holds neither modules.json nor config.json; it is not an encoder folder"
            )
        pooling = _Module("pooling", folder / "1_SpladePooling", named=False)
        return [_Module("transformer", folder), pooling]
    listed = read_json(path)
    if not isinstance(listed, list) or not all(isinstance(module, dict) for module in listed):
        raise EncoderError(f"{path}: a list of modules was expected; download the encoder again")
    return [
        _Module(
            _kind(module.get("type"), named_in=path),
            inside(folder, module.get("path"), named_in=path),
        )
        for module in listed
    ]


def _kind(class_name: object, *, named_in: Path) -> Kind:
    kind = _KINDS.get(class_name) if isinstance(class_name, str) else None
    if kind is None:
        raise EncoderError(
            f"{named_in}: the module class {class_name!r} is not on the list of classes this "
            "package reads, and nothing is imported by name; only SPLADE, inference-free and BM25 "
            "encoders load"
        )
    return kind


def _read_router(
    folder: Path,
    place: Path,
    card: Card,
    settings: Settings,
    device: str | None,
    precision: Precision,
) -> SparseEncoder:
    path = place / "router_config.json"
    if not path.is_file():
        path = place / "config.json"  # the name that sentence-transformers 5.0 gave it
    config = read_object(path)
    types, structure = config.get("types"), config.get("structure")
    if not isinstance(types, Mapping) or not isinstance(structure, Mapping):
        raise EncoderError(f"{path}: types and structure were expected; download it again")
    routes = {
        str(route): [
            _Module(_kind(types.get(name), named_in=path), inside(place, name, named_in=path))
            for name in names
        ]
        for route, names in structure.items()
        if isinstance(names, list)
    }
    query, document = routes.get("query", []), routes.get("document", [])
    document_kinds = [module.kind for module in document]
    if query == document and document_kinds in _NETWORKS:
        side = _read_network(document, device, precision)
        return SpladeEncoder(side, card, settings, folder)
    query_kinds = [module.kind for module in query]
    if (query_kinds != ["table"] and query_kinds not in _NETWORKS) or (
        document_kinds not in _NETWORKS and not (card.queries_only and not document_kinds)
    ):
        raise EncoderError(
            f"{path}: this package reads a query route of one SparseStaticEmbedding or of "
            "Transformer + SpladePooling, and a document route of the latter, got "
            + "; ".join(f"{k}: {' + '.join(m.kind for m in v)}" for k, v in routes.items())
        )
    documents = _read_network(document, device, precision) if document else None
    if query_kinds in _NETWORKS:
        queries = _read_network(query, device, precision)
        return SeparateEncoder(queries, documents, card, settings, folder)
    tokenizer = TextTokenizer.load(query[0].folder)
    table = QueryTable(tokenizer, read_table(query[0].folder, folder, tokenizer))
    return InferenceFreeEncoder(table, documents, card, settings, folder)


def _read_network(modules: list[_Module], device: str | None, precision: Precision) -> NetworkSide:
    """One of `_NETWORKS`."""
    if modules[0].kind == "transformer":
        return replace(_read_side(modules), device=device, precision=precision)
    folder = modules[0].folder
    if not (folder / onnx_side.GRAPH).is_file():
        raise EncoderError(f"{folder} has no {onnx_side.GRAPH}; copy or export the encoder again")
    if device not in (None, "cpu") or precision != "float32":
        raise EncoderError(
            f"{folder} is an ONNX graph, which runs on the CPU, in the precision of its export; "
            f"got device {device!r}, precision {precision!r}. Load the encoder it came from, or "
            "leave both out"
        )
    return OnnxSide(folder)


def _read_side(modules: list[_Module]) -> TransformerSide:
    """A transformer with a pooling, one with a literal residual too, or one with a UHD head."""
    folder, last = modules[0].folder, modules[-1]
    config = read_object(folder / "config.json")
    kind = network_kind(folder)
    own = OwnModule(last.kind, last.folder) if last.kind in ("literal", "uhd") else None
    if last.kind != "uhd" and not any(
        isinstance(name, str) and name.endswith(architecture_suffix(kind))
        for name in config.get("architectures") or []
    ):
        raise MissingHead(
            f"{folder / 'config.json'}: architectures = {config.get('architectures')} is no masked "
            "language model; SPLADE reads its term weights from a masked-LM head"
            if kind == "masked-lm"
            else f"{folder / 'config.json'}: architectures = {config.get('architectures')}, but "
            f"{NETWORK_FILE} beside it says {kind}; the folder is put together from two"
        )
    if not any(folder.glob("*.safetensors")):
        pickled = next(iter(sorted(folder.glob("*.bin"))), None)
        raise EncoderError(
            f"{folder} has no safetensors weights"
            + (
                f"; {pickled.name} is a pickle, which can run code, and is not read"
                if pickled
                else ""
            )
            + ". Where you trust it, convert it: AutoModelForMaskedLM.from_pretrained(old)"
            ".save_pretrained(new)"
        )
    stock: dict[str, Any] = {}
    if (path := folder / "sentence_bert_config.json").is_file():
        stock = read_object(path)
        if (task := stock.get("transformer_task", "fill-mask")) != "fill-mask":
            raise EncoderError(f"{path}: transformer_task is {task!r}, SPLADE needs 'fill-mask'")
    path = modules[1].folder / "config.json"
    there = modules[1].named or path.parent.is_dir()
    pooled = read_object(path) if last.kind != "uhd" and there else {}
    strategy, activation = (
        pooled.get("pooling_strategy", "max"),
        pooled.get("activation_function", "relu"),
    )
    strategies = ("max", "sum", "mean", "last") if kind == "decoder" else ("max", "sum")
    if strategy not in strategies or activation not in ("relu", "log1p_relu"):
        raise EncoderError(
            f"{path}: pooling {strategy!r} with activation {activation!r} is unknown; this package "
            f"reads {', '.join(strategies[:-1])} or {strategies[-1]}, relu or log1p_relu"
        )
    max_length = stock.get("max_seq_length")
    return TransformerSide(
        folder,
        activation=activation,
        pooling=strategy,
        max_length=max_length if isinstance(max_length, int) else None,
        lower_case=stock.get("do_lower_case") is True,
        own=own,
    )


def _read_settings(folder: Path) -> Settings:
    path = folder / "config_sentence_transformers.json"
    if not path.is_file():
        return Settings()
    config = read_object(path)
    prompts = config.get("prompts") or {}
    top_k = config.get("max_active_dims")
    if not isinstance(prompts, Mapping) or not (
        top_k is None or (type(top_k) is int and top_k > 0)
    ):
        raise EncoderError(f"{path}: prompts = {prompts!r}, max_active_dims = {top_k!r}")
    return Settings(str(prompts.get("query") or ""), str(prompts.get("document") or ""), top_k)
