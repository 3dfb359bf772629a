"""From a masked-LM encoder to its ONNX twin, which encodes without torch (torch, onnx).

The twin declares the space of the encoder it came from: an index built by either takes the queries
of the other. What rounding to 8 bits costs is measured on sample texts and kept in `lsr.json`.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EncoderError, UsageError
from ..types import SparseMatrix
from .batching import keep_largest
from .folder import write_json
from .inference_free import InferenceFreeEncoder
from .joined import JoinedEncoder
from .model import SparseModel
from .onnx_graph import (
    Floats,
    Graph,
    Readout,
    append_readout,
    products,
    round_products,
    smoothing,
)
from .onnx_side import CONFIG, GRAPH, PREFIX, OnnxPrecision, OnnxSide
from .protocol import SparseEncoder
from .separate import SeparateEncoder
from .siamese import SpladeEncoder
from .side import NetworkSide, TransformerSide
from .splade import SpladeModel
from .table import QueryTable

# After `splade` and `onnx_graph`, whose imports say what to install.
import onnx  # isort: skip
import onnxruntime  # type: ignore[import-untyped]  # isort: skip
import torch  # isort: skip

_OPSET = 20  # the first with Gelu
_TOLERANCE = 1e-4
"""Largest difference of a float32 weight, as a share of the encoder's largest weight."""
_CALIBRATION = 64  # texts whose activations tell int8 its ranges
_UNSHAPED = (
    *("transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures"),
    *("use_cache", "gradient_checkpointing"),
)
"""Keys of a config.json that say nothing about the network's shape."""
_TOP = 100  # terms of a text whose overlap is reported


@dataclass(frozen=True)
class Measured:
    """What an export gave; the differences are those of document weights on the sample texts."""

    precision: OnnxPrecision
    parent: str
    """Name of the encoder it was made from."""
    parent_build: str
    graph_bytes: int
    """Size of the graphs, all sides together."""
    parent_bytes: int
    """What the parameters take in float32."""
    texts: int
    max_difference: float
    """Largest absolute difference of a weight."""
    mean_difference: float
    """Mean absolute difference over the terms that either gives a weight."""
    mean_weight: float
    """Mean weight of the encoder, to compare with."""
    top_overlap: float
    """Share of each text's 100 largest terms that are also the twin's, averaged."""


def export_onnx(
    encoder: SparseEncoder,
    folder: Path,
    *,
    precision: OnnxPrecision = "float32",
    texts: Sequence[str],
) -> Measured:
    """Write the ONNX twin of `encoder` into `folder` and measure it on `texts`.

    `float16` halves the file and computes in float32; `int8` quarters it and computes in 8 bits,
    with what it needs to know of the activations taken from `texts`. A query table stays as it is.
    """
    if isinstance(encoder, JoinedEncoder):
        return _export_joined(encoder, folder, precision, texts)
    if not isinstance(encoder, SpladeEncoder | InferenceFreeEncoder | SeparateEncoder):
        raise EncoderError(
            f"encoder '{encoder.name}' ({type(encoder).__name__}) is no masked language model and "
            "has no ONNX form; wanted a SPLADE or inference-free encoder"
        )
    samples = [text for text in texts if text and not text.isspace()]
    if not samples:
        raise UsageError("export needs sample texts, to measure what it wrote; got none")
    names = ("side",) if isinstance(encoder, SpladeEncoder) else ("queries", "documents")
    sides = {name: getattr(encoder, name) for name in names}
    if "documents" in sides and sides["documents"] is None:
        raise EncoderError(
            f"encoder '{encoder.name}' holds only the query side; export the whole encoder"
        )
    networks = {
        name: _network(side, encoder.name)
        for name, side in sides.items()
        if not isinstance(side, QueryTable)
    }
    with tempfile.TemporaryDirectory() as work:
        twins: dict[str, Any] = {name: OnnxSide(Path(work, name)) for name in networks}
        for name, side in networks.items():
            prompt = (
                encoder.settings.query_prompt
                if name == "queries"
                else encoder.settings.document_prompt
            )
            tokens = side.model.tokenizer.framed(samples, prompt=prompt)
            _write_twin(side, twins[name].folder, precision, [ids for ids in tokens if ids])
        made = replace(encoder, folder=None, **twins)
        record = asdict(
            measured := Measured(
                precision,
                parent=encoder.name,
                parent_build=encoder.build,
                graph_bytes=sum((side.folder / GRAPH).stat().st_size for side in twins.values()),
                parent_bytes=sum(_parameter_bytes(side) for side in networks.values()),
                **_differences(encoder.encode_documents(samples), made.encode_documents(samples)),
            )
        )
        # A network whose readout has learned something that the graph does not say.
        if precision == "float32" and measured.max_difference > _TOLERANCE * encoder.max_weight:
            raise EncoderError(
                f"the graphs of encoder '{encoder.name}' give weights that differ by "
                f"{measured.max_difference:.2g} from the network's; nothing was written. Encode "
                "with torch, and report the architecture"
            )
        suffix = "onnx" if precision == "float32" else precision
        card = replace(encoder.card, name=f"{encoder.name}-{suffix}", export=record)
        replace(made, card=card).save(folder)
    return measured


def _export_joined(
    encoder: JoinedEncoder, folder: Path, precision: OnnxPrecision, texts: Sequence[str]
) -> Measured:
    """The twin of the network with the same words beside it; figures are the network's."""
    from .layout import load_encoder

    if encoder.learned.documents is not None:
        _network(encoder.learned.documents, encoder.name)  # refused under the name that is known
    with tempfile.TemporaryDirectory() as work:
        twin = Path(work, "learned")
        measured = export_onnx(encoder.learned, twin, precision=precision, texts=texts)
        learned = load_encoder(twin)
        assert isinstance(learned, InferenceFreeEncoder)
        suffix = learned.card.name.removeprefix(f"{encoder.learned.name}-")
        name = f"{encoder.name}-{suffix}"
        card = replace(encoder.card, name=name, export=learned.card.export)
        replace(encoder, learned=learned, card=card, folder=None).save(folder)
    return measured


def _network(side: NetworkSide, name: str) -> TransformerSide:
    """The side, if its network has a form in ONNX."""
    if isinstance(side, OnnxSide):
        raise EncoderError(
            f"encoder '{name}' is an ONNX graph already ({side.folder}); export the encoder it was "
            "made from"
        )
    if side.model.literal is not None:
        raise EncoderError(
            f"encoder '{name}' has a literal residual, which has no ONNX form; encode with torch"
        )
    if type(side.model) is not SpladeModel or side.pooling in ("last", "mean"):
        raise EncoderError(
            f"encoder '{name}' is a {type(side.model).__name__}, which has no ONNX form; wanted a "
            "masked language model with max or sum pooling over all positions. Encode with torch, "
            "in bfloat16 where time matters"
        )
    return side


def _write_twin(
    side: TransformerSide, folder: Path, precision: OnnxPrecision, tokens: list[list[int]]
) -> None:
    folder.mkdir(parents=True)
    model = side.model
    assert side.pooling == "max" or side.pooling == "sum", "others are refused by `_network`"
    graph = Graph(_traced(model))
    names = _names(model, graph)
    decoder = model.decoder
    readout = Readout(
        table=_numbers(decoder.weight),
        bias=None if decoder.bias is None else _numbers(decoder.bias),
        pooling=side.pooling,
        activation=side.activation,
    )
    vector: Floats | None = None
    if precision == "int8":
        largest = _largest(graph, tokens[:_CALIBRATION])
        vector = smoothing(largest["features"], np.abs(readout.table).max(axis=0))
        round_products(graph, largest)
    proto = append_readout(graph, readout, vector, half=precision == "float16")
    _forget_origin(proto)
    onnx.save(proto, folder / GRAPH)
    config = {
        "embedding_dimension": model.n_terms,
        "pooling_strategy": side.pooling,
        "activation_function": side.activation,
        "precision": precision,
        "space": side.space,
        # What `thawing` makes a network of; the graph itself does not say how many heads there are.
        "network": _shape(model),
        "parameters": names,
    }
    write_json(folder / CONFIG, config)
    model.tokenizer.write(folder)


def _shape(model: SparseModel) -> dict[str, Any]:
    """Sizes and kinds of the network's layers, without names of files and versions."""
    config = model.backbone.config
    shape = {key: value for key, value in config.to_diff_dict().items() if key not in _UNSHAPED}
    return {**shape, "model_type": config.model_type}


def _names(model: SparseModel, graph: Graph) -> dict[str, Any]:
    """Which parameters the graph's matrices are, and which constants others share.

    Matrices lose their names as they are turned round; of constants with equal numbers, such as the
    biases of a new network, the tracer keeps one.
    """
    values = {name: _numbers(value) for name, value in model.backbone.named_parameters()}
    factors: list[str | None] = []
    for node in graph.nodes:
        matrix = graph.constants.get(node.input[1]) if node.op_type == "MatMul" else None
        if matrix is not None and matrix.ndim == 2:
            equal = (name for name, value in values.items() if np.array_equal(value.T, matrix))
            name = next(equal, None)
            values.pop(name or "", None)
            factors.append(name)
    tables = {id(model.decoder.weight), id(model.decoder.bias)}
    values = {
        name: _numbers(parameter)
        for name, parameter in model.backbone.named_parameters()
        if name in values and PREFIX + name not in graph.constants and id(parameter) not in tables
    }
    shared = {
        name: at
        for name, value in values.items()
        for at, same in reversed(graph.constants.items())
        if at.startswith(PREFIX) and np.array_equal(same, value)
    }
    unused = [name for name in sorted(values.keys() - shared.keys()) if _is_unused(model, name)]
    return {"factors": factors, "shared": shared, "unused": unused}


def _is_unused(model: SparseModel, name: str) -> bool:
    """Whether a parameter that the graph does not name can change without any effect.

    One that it has folded into another constant (DeBERTa's query biases) does have an effect.
    """
    parameter = model.backbone.get_parameter(name)
    ids = torch.full((1, 4), model.n_terms - 1, device=model.device)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        before, kept = model.features(ids, torch.ones_like(ids)), parameter.clone()
        parameter.add_(1)
        after = model.features(ids, torch.ones_like(ids))
        parameter.copy_(kept)
    model.train(was_training)
    return torch.equal(before, after)


def _forget_origin(proto: Any) -> None:
    """Take out where each node was traced: stack traces that name folders of this machine.

    Nodes lose their names as well, which nothing reads.
    """
    graph = proto.graph
    for node in graph.node:
        node.ClearField("name")
    for part in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


class _Features(torch.nn.Module):
    def __init__(self, model: SparseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model.features(input_ids, attention_mask)


def _traced(model: SparseModel) -> onnx.ModelProto:
    """The graph up to the features: `input_ids`, `attention_mask` (batch, length) to `features`."""
    limit = model.tokenizer.max_length
    length = 8 if limit is None else min(8, limit - 1)
    ids = torch.full((2, length), model.tokenizer.pad_id, device=model.device)
    mask = torch.ones_like(ids)
    ids[:, : length - 1] = model.n_terms - 1
    mask[1, length - 1 :] = 0
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    was_training = model.training
    model.eval()
    try:
        with _quiet_export(), _eager(model), _positions_read(model), torch.no_grad():
            program = torch.onnx.export(
                _Features(model),
                (ids, mask),
                dynamo=True,
                dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
                input_names=["input_ids", "attention_mask"],
                output_names=["features"],
                opset_version=_OPSET,
                verbose=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise EncoderError(
            f"{type(model.backbone).__name__} cannot be written as ONNX: {error}. Encode with torch"
        ) from error
    finally:
        model.train(was_training)
    assert program is not None
    return program.model_proto


def _largest(graph: Graph, tokens: list[list[int]]) -> dict[str, Floats]:
    """max |x[..., j]| over `tokens` for the features and every activation that meets a matrix."""
    names = sorted({*products(graph), "features"})
    probe = onnx.ModelProto()
    probe.CopyFrom(graph.model)
    del probe.graph.output[:]
    for name in names:
        probe.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    largest: dict[str, Floats] = {}
    for ids in tokens:
        row = np.array([ids], np.int64)
        values = session.run(names, {"input_ids": row, "attention_mask": np.ones_like(row)})
        for name, value in zip(names, values, strict=True):
            most = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            largest[name] = np.maximum(largest.get(name, most), most)
    return largest


def _differences(ours: SparseMatrix, theirs: SparseMatrix) -> dict[str, Any]:
    distance = abs(ours - theirs)
    either = max(1, (ours + theirs).nnz)
    tops = [keep_largest(rows, _TOP) for rows in (ours, theirs)]
    common = ((tops[0] > 0) * (tops[1] > 0)).sum(axis=1)
    wanted = np.maximum(1, np.diff(tops[0].indptr))
    return {
        "texts": ours.shape[0],
        "max_difference": float(distance.max()) if distance.nnz else 0.0,
        "mean_difference": float(distance.sum()) / either,
        "mean_weight": float(ours.data.mean()) if ours.nnz else 0.0,
        "top_overlap": float((common / wanted).mean()),
    }


def _parameter_bytes(side: TransformerSide) -> int:
    return sum(4 * parameter.numel() for parameter in side.model.parameters())


def _numbers(parameter: torch.Tensor) -> Floats:
    return parameter.detach().float().cpu().numpy()


@contextmanager
def _eager(model: SparseModel) -> Iterator[None]:
    """Attention as plain products: what torch fuses it into leaves NaN tests in the graph."""
    before = model.backbone.config._attn_implementation
    model.backbone.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.backbone.set_attn_implementation(before)


@contextmanager
def _positions_read(model: SparseModel) -> Iterator[None]:
    """Leave out the embeddings of positions that no text reaches, as it is cut before: for 256 of
    512 positions at width 384 that is 0.2 MB in 16 bits."""
    limit = model.tokenizer.max_length
    tables = {
        module: module.weight
        for name, module in model.backbone.named_modules()
        if name.endswith(".position_embeddings") and isinstance(module, torch.nn.Embedding)
    }
    for module, weight in tables.items():
        # RoBERTa and its kin number positions from the padding token on.
        first = 0 if module.padding_idx is None else module.padding_idx + 1
        if limit is not None and first + limit < len(weight):
            module.weight = torch.nn.Parameter(weight[: first + limit].detach())
    try:
        yield
    finally:
        for module, weight in tables.items():
            module.weight = weight


@contextmanager
def _quiet_export() -> Iterator[None]:
    """Keep the exporter's hints for developers off the terminal; failures are raised."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
