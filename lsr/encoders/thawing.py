"""From ONNX graphs back to networks that train and export (torch, transformers, onnx).

The graphs of `onnx_export` compute with rounded or widened copies of a network's matrices. Biases,
norms and whole tables keep their parameters' names there, `config.json` names the matrices in their
order, the decoder is known by the slices of its vocabulary, and the graph holds of each

    float32, float16   W                          as it was, to 11 bits
    int8               rounded * sizes / vector   to 8 bits; `vector` is what smoothing moved

so nothing is learned anew. The shape of the network stands in `config.json` too. What rounding took
stays lost: a thawed network has its graph's weights, not its parent's, and a space of its own.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import EncoderError
from .card import Card
from .inference_free import InferenceFreeEncoder
from .joined import JoinedEncoder
from .onnx_graph import Floats
from .onnx_side import CONFIG, GRAPH, PREFIX, OnnxSide, ParameterNames
from .protocol import SparseEncoder
from .separate import SeparateEncoder
from .siamese import SpladeEncoder
from .side import TransformerSide
from .splade import SpladeModel

# After `splade` and `onnx_graph`, whose imports say what to install.
import onnx  # isort: skip
import torch  # isort: skip
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel  # isort: skip

_SUFFIXES = ("-int8", "-float16", "-onnx")


def is_frozen(encoder: SparseEncoder) -> bool:
    """Whether a network of `encoder` is an ONNX graph."""
    return any(isinstance(side, OnnxSide) for side in _sides(encoder))


def thaw(encoder: SparseEncoder) -> SparseEncoder:
    """`encoder` with a network in torch in the place of each ONNX graph; in memory, on the CPU.

    Query tables, words, prompts, caps and the record of training stay. Vectors are the graph's but
    for rounding of activations. Raises `EncoderError` where there is no graph, or one of an
    export that did not keep the shape of its network.
    """
    if not is_frozen(encoder):
        raise EncoderError(
            f"encoder '{encoder.name}' has no ONNX graph; it can be trained as it is"
        )
    if isinstance(encoder, JoinedEncoder):
        learned = thaw(encoder.learned)
        assert isinstance(learned, InferenceFreeEncoder)
        return replace(encoder, learned=learned, card=_card(encoder.card), folder=None)
    assert isinstance(encoder, InferenceFreeEncoder | SeparateEncoder | SpladeEncoder)
    sides: dict[str, Any] = {
        name: _thawed(side)
        for name in ("side", "queries", "documents")
        if isinstance(side := getattr(encoder, name, None), OnnxSide)
    }
    return replace(encoder, **sides, card=_card(encoder.card), folder=None)


def _sides(encoder: SparseEncoder) -> Iterable[object]:
    if isinstance(encoder, JoinedEncoder):
        return _sides(encoder.learned)
    if isinstance(encoder, SpladeEncoder):
        return (encoder.side,)
    if isinstance(encoder, InferenceFreeEncoder | SeparateEncoder):
        return (encoder.queries, encoder.documents)
    return ()


def _card(card: Card) -> Card:
    """The graph's, which is none any more: a name without its suffix, no figures of an export."""
    name = card.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return replace(card, name=name, export=None, space=None, build=None)


def _thawed(side: OnnxSide) -> TransformerSide:
    weights = _Weights(side.folder, side.parameters)
    backbone = _empty(side, weights.named)
    _fill(backbone, weights, side.folder)
    activation, pooling = side.readout
    return TransformerSide.of(
        SpladeModel(backbone, side.tokenizer, activation=activation, pooling=pooling)
    )


def _empty(side: OnnxSide, named: Mapping[str, Floats]) -> PreTrainedModel:
    """A network of the graph's shape. Positions that no text reached are not in the graph."""
    shape = dict(side.network)
    for name, value in named.items():
        if name.endswith(".position_embeddings.weight"):
            shape["max_position_embeddings"] = len(value)
    kind = shape.pop("model_type", None)
    try:
        config = AutoConfig.for_model(kind, **shape)
        with torch.random.fork_rng(devices=[]):
            make: Any = AutoModelForMaskedLM.from_config
            made = make(config, dtype=torch.float32)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise EncoderError(
            f"{side.folder / CONFIG}: network is no masked language model that this transformers "
            f"makes ({error}); train on from the encoder it was exported from"
        ) from error
    made.eval()
    backbone: PreTrainedModel = made
    return backbone


def _fill(backbone: PreTrainedModel, weights: "_Weights", folder: Path) -> None:
    """Give every parameter its values."""
    decoder = backbone.get_output_embeddings()  # type: ignore[no-untyped-call]
    embeddings = backbone.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    values = dict(weights.named)
    names = {id(parameter): name for name, parameter in backbone.named_parameters()}
    values[names[id(decoder.weight)]] = weights.table
    values.setdefault(names[id(embeddings.weight)], weights.table)
    if weights.bias is not None and decoder.bias is not None:
        values[names[id(decoder.bias)]] = weights.bias
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            value = values.get(name)
            if value is None and name in weights.names.unused:
                parameter.zero_()
                continue
            if value is None or value.shape != tuple(parameter.shape):
                found = "nothing" if value is None else f"shape {value.shape}"
                raise EncoderError(
                    f"{folder / GRAPH}: {found} found for {name} {tuple(parameter.shape)}, so the "
                    "network cannot be made again; train on from the encoder it was exported from"
                )
            parameter.copy_(torch.tensor(value))


class _Weights:
    """The parameters that a graph of `onnx_export` holds."""

    def __init__(self, folder: Path, names: ParameterNames) -> None:
        self._folder, self.names = folder, names
        path = folder / GRAPH
        try:
            graph = onnx.load(path).graph
            constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        except Exception as error:  # protobuf's and the files' errors have no common base
            raise self._unreadable(str(error)) from error
        self._constants: dict[str, npt.NDArray[Any]] = constants
        self._maker = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            if node.op_type == "Cast" and node.input[0] in constants:  # float16 in the file
                constants[node.output[0]] = constants[node.input[0]].astype(np.float32)
        self.named: dict[str, Floats] = {
            name.removeprefix(PREFIX): value
            for name, value in constants.items()
            if name.startswith(PREFIX) and value.dtype == np.float32
        }
        self.named |= {name: constants[at] for name, at in names.shared.items() if at in constants}
        try:
            matrices = list(self._matrices(graph.node))
            self.table = self._decoder(graph.node)
            self.bias = self._decoder_bias()
        except (KeyError, IndexError, ValueError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from error
        if len(matrices) != len(names.factors):
            raise self._unreadable(f"{len(matrices)} products, {len(names.factors)} are named")
        self.named |= dict(zip(names.factors, matrices, strict=True))

    def _matrices(self, nodes: Iterable[Any]) -> Iterator[Floats]:
        """(out, in) of each product with a constant, in the order of the graph."""
        for node in nodes:
            if node.op_type not in ("MatMul", "MatMulIntegerToFloat"):
                continue
            matrix = self._constants.get(node.input[1])
            if matrix is None or matrix.ndim != 2:
                continue
            if node.op_type == "MatMulIntegerToFloat":
                matrix = matrix * self._constants[node.input[3]]
                matrix = matrix * self._unsmoothing(node.input[0])[:, None]
            yield matrix.T

    def _unsmoothing(self, integers: str) -> Floats:
        """1 / vector, the factor of an activation before it was rounded to `integers`."""
        node = self._maker[integers]
        # Reshape, QuantizeLinear, Flatten; in older graphs Cast, Add, Round, Div.
        for _ in range(3 if node.op_type == "Reshape" else 4):
            node = self._maker[node.input[0]]
        factor: Floats = self._constants[node.input[1]]
        return factor

    def _decoder(self, nodes: Iterable[Any]) -> Floats:
        """(vocab, width): what is sliced, turned round and multiplied by the features."""
        for node in nodes:
            if node.op_type not in ("MatMul", "MatMulInteger"):
                continue
            turned = self._maker.get(node.input[1])
            if turned is None or turned.op_type != "Transpose":
                continue
            sliced = self._maker.get(turned.input[0])
            if sliced is None or sliced.op_type != "Slice":
                continue
            table = self._constants.get(sliced.input[0])
            if table is None:
                continue
            if node.op_type == "MatMulInteger":
                table = table * self._sizes(len(table))[:, None]
                table = table * self._unsmoothing(node.input[0])
            whole: Floats = table.astype(np.float32)
            return whole
        raise self._unreadable("no product with slices of a vocabulary")

    def _sizes(self, n_terms: int) -> Floats:
        """(vocab,) the scales of the int8 decoder: what its integers, cast, are multiplied by."""
        for node in self._maker.values():
            if node.op_type == "Mul" and node.input[1] in self._constants:
                sizes = self._constants[node.input[1]]
                whole = self._maker.get(node.input[0])
                if whole is not None and whole.op_type == "Cast" and sizes.shape == (n_terms,):
                    return sizes.astype(np.float32)
        raise self._unreadable("no scales of the decoder")

    def _decoder_bias(self) -> Floats | None:
        """(vocab,) what is added to all logits, or to each slice of them: the last of its size."""
        for operator, at in (("Add", 1), ("Slice", 0)):
            for node in reversed(self._maker.values()):
                value = self._constants.get(node.input[at]) if len(node.input) > at else None
                if node.op_type != operator or value is None:
                    continue
                if value.dtype == np.float32 and value.shape == (len(self.table),):
                    return value
        return None

    def _unreadable(self, why: str) -> EncoderError:
        return EncoderError(
            f"{self._folder / GRAPH} is no graph that this package wrote ({why}); train on from "
            "the encoder it was exported from"
        )
