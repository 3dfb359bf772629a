"""Surgery on ONNX graphs: the readout of a sparse encoder, and weights of 16 or 8 bits (onnx).

A graph arrives with the output `features` (batch, length, width) and leaves with `weights`
(batch, vocab). The (batch, length, vocab) logits between exist a slice of the vocabulary at a time.

int8 is dynamic: activations get one scale a position, as 8 bits around 128; weights one scale an
output. Before that, what is large in an activation is moved into the weights it meets, by
s[j] = sqrt(max |x[j]| / max |W[j]|) from sample texts (SmoothQuant, arXiv 2211.10438). One scale
for a whole batch, the usual dynamic quantisation, made errors twice as large and let the vectors of
a text depend on the other texts of its batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import MissingExtra

try:
    from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
except ImportError as missing:
    raise MissingExtra("writing ONNX", extra="onnx", package=missing.name or "onnx") from None

Floats = npt.NDArray[np.float32]

_SLICE = 512
"""Columns of logits at a time: those of 512 tokens take 1 MB, which stays in a core's cache until
it is pooled. This and `_quantised` as it is gave 1.08 times the documents a second."""
_LARGE = 1_024  # fewer numbers than this (biases, norms) stay float32
_FLOAT = TensorProto.FLOAT
_CONTRIB = "com.microsoft"  # ONNX Runtime's own operators


@dataclass
class Graph:
    """A model whose nodes and constants are taken and added by name."""

    model: ModelProto
    _fresh: int = field(default=0, repr=False)
    _single: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.constants = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer
        }
        self.nodes: list[NodeProto] = list(self.model.graph.node)

    def constant(self, value: npt.NDArray[Any] | np.generic) -> str:
        """Name a new constant; equal single numbers have one name."""
        array = np.asarray(value)
        if array.size > 1:
            return self._kept(array)
        number = (array.dtype.str, array.shape, array.tobytes())
        if number not in self._single:
            self._single[number] = self._kept(array)
        return self._single[number]

    def add(self, operator: str, *inputs: str, output: str | None = None, **settings: Any) -> str:
        """Append a node and name its output."""
        name = output or self._name("v")
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **settings))
        return name

    def finish(self, *, output: str, n_terms: int) -> ModelProto:
        """The model with `output` (batch, n_terms) as its only output and no unused constant."""
        graph = self.model.graph
        used = {name for node in self.nodes for name in node.input}
        del graph.node[:], graph.initializer[:], graph.output[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        for name, value in self.constants.items():
            if name in used:
                graph.initializer.append(numpy_helper.from_array(value, name))
        shape: list[str | int | None] = ["batch", n_terms]
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
        if all(item.domain != _CONTRIB for item in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
        return self.model

    def _kept(self, array: npt.NDArray[Any]) -> str:
        name = self._name("c")
        self.constants[name] = array
        return name

    def _name(self, kind: str) -> str:
        self._fresh += 1
        return f"lsr_{kind}{self._fresh}"


@dataclass(frozen=True)
class Readout:
    """What follows the features: decoder, pooling, activation."""

    table: Floats
    """(vocab, width): the decoder's weight."""
    bias: Floats | None
    pooling: Literal["max", "sum"]
    activation: Literal["relu", "log1p_relu"]


def append_readout(
    graph: Graph, readout: Readout, vector: Floats | None = None, *, half: bool = False
) -> ModelProto:
    """Finish `graph` with pooled weights; `vector`, the smoothing (width,), makes the decoder int8.

    A decoder tied to the token embeddings shares their constant. Sums of activated logits are kept
    in float32 whatever is asked. `half` keeps matrices as float16 in the file; int8 does so with
    those it does not multiply by.
    """
    tied = [name for name, value in graph.constants.items() if _same(value, readout.table)]
    table = tied[0] if tied else graph.constant(readout.table)
    if readout.pooling == "sum":
        weights = _summed(graph, readout, table)
    elif vector is None:
        pooled = _sliced(graph, readout, table, _product(graph, _features(graph)), _maximum(graph))
        weights = _activated(graph, readout, _with_bias(graph, readout, pooled))
    else:
        weights = _integer(graph, readout, table, vector)
    graph.add("Identity", weights, output="weights")
    if half or vector is not None:
        _halve(graph)
    return graph.finish(output="weights", n_terms=len(readout.table))


def _integer(graph: Graph, readout: Readout, table: str, vector: Floats) -> str:
    """The int8 decoder: one scale a text and one a term, both above 0, so integers are compared."""
    rounded, sizes = _rounded(readout.table * vector, axis=1)
    shared = graph.constant(rounded)
    _round_gathers(graph, table, shared, sizes, vector)
    smooth = graph.add("Mul", _features(graph), graph.constant(1 / vector))
    integers, scale = _quantised(graph, smooth, axes=[1, 2])
    zero = graph.constant(np.uint8(128))
    pooled = _sliced(
        graph,
        readout,
        shared,
        lambda columns: graph.add("MatMulInteger", integers, columns, zero),
        _maximum(graph),
    )
    pooled = graph.add("Mul", graph.add("Cast", pooled, to=_FLOAT), graph.constant(sizes))
    pooled = graph.add("Mul", pooled, graph.add("Squeeze", scale, graph.constant(_axes(2))))
    return _activated(graph, readout, _with_bias(graph, readout, pooled))


def _summed(graph: Graph, readout: Readout, table: str) -> str:
    """SPLADE v1: activated logits, added up over the positions that hold a token."""
    mask = graph.add("Cast", "attention_mask", to=_FLOAT)
    mask = graph.add("Unsqueeze", mask, graph.constant(_axes(1)))
    bias = None if readout.bias is None else graph.constant(readout.bias)

    def pool(logits: str, first: str, last: str) -> str:
        if bias is not None:
            logits = graph.add(
                "Add", logits, graph.add("Slice", bias, first, last, graph.constant(_axes(0)))
            )
        total = graph.add("MatMul", mask, _activated(graph, readout, logits))
        return graph.add("Squeeze", total, graph.constant(_axes(1)))

    return _sliced(graph, readout, table, _product(graph, "features"), pool)


def _sliced(
    graph: Graph,
    readout: Readout,
    table: str,
    product: Callable[[str], str],
    pool: Callable[[str, str, str], str],
) -> str:
    """(batch, vocab): `pool(product(columns), first, last)` for every slice of the vocabulary.

    Slices and transposes of a constant are folded when the graph is loaded; the file holds one.
    """
    parts = []
    n_terms = len(readout.table)
    edges = [graph.constant(_axes(at)) for at in (*range(0, n_terms, _SLICE), n_terms)]
    along = graph.constant(_axes(0))
    for first, last in pairwise(edges):
        rows = graph.add("Slice", table, first, last, along)
        columns = graph.add("Transpose", rows, perm=[1, 0])
        parts.append(pool(product(columns), first, last))
    return graph.add("Concat", *parts, axis=1)


def _product(graph: Graph, features: str) -> Callable[[str], str]:
    return lambda columns: graph.add("MatMul", features, columns)


def _maximum(graph: Graph) -> Callable[[str, str, str], str]:
    axes = graph.constant(_axes(1))
    return lambda logits, first, last: graph.add("ReduceMax", logits, axes, keepdims=0)


def _features(graph: Graph) -> str:
    """The features, padded positions repeating the first one, which no maximum notices."""
    mask = graph.add("Unsqueeze", "attention_mask", graph.constant(_axes(2)))
    mask = graph.add("Cast", mask, to=TensorProto.BOOL)
    zero, one = graph.constant(_axes(0)), graph.constant(_axes(1))
    return graph.add("Where", mask, "features", graph.add("Slice", "features", zero, one, one))


def _with_bias(graph: Graph, readout: Readout, logits: str) -> str:
    if readout.bias is None:
        return logits
    return graph.add("Add", logits, graph.constant(readout.bias))


def _activated(graph: Graph, readout: Readout, logits: str) -> str:
    one = graph.constant(np.float32(1))
    weights = graph.add("Log", graph.add("Add", graph.add("Relu", logits), one))
    if readout.activation == "log1p_relu":
        weights = graph.add("Log", graph.add("Add", weights, one))
    return weights


# --- fewer bits ------------------------------------------------------------------------------


def _halve(graph: Graph) -> None:
    """Keep matrices as float16; they are widened when the graph is loaded."""
    casts: list[NodeProto] = []
    used = {name for node in graph.nodes for name in node.input}
    for name, value in list(graph.constants.items()):
        if name not in used or value.dtype != np.float32 or value.ndim < 2 or value.size < _LARGE:
            continue
        narrow = graph.constant(value.astype(np.float16))
        del graph.constants[name]
        casts.append(helper.make_node("Cast", [narrow], [name], to=_FLOAT))
    graph.nodes[:0] = casts


def products(graph: Graph) -> dict[str, list[NodeProto]]:
    """The products with a constant matrix, by the activation that they share."""
    found: dict[str, list[NodeProto]] = {}
    for node in graph.nodes:
        if node.op_type == "MatMul":
            matrix = graph.constants.get(node.input[1])
            if matrix is not None and matrix.ndim == 2 and matrix.size >= _LARGE:
                found.setdefault(node.input[0], []).append(node)
    return found


def round_products(graph: Graph, largest: Mapping[str, Floats]) -> None:
    """Make every product with a constant matrix int8.

    `largest[x]` is max |x[..., j]| over sample texts for every activation x of `products`.
    """
    groups = {id(node): x for x, nodes in products(graph).items() for node in nodes}
    ready: dict[str, tuple[str, str, Floats]] = {}
    nodes, graph.nodes = graph.nodes, []
    zero, one = graph.constant(np.uint8(128)), graph.constant(np.float32(1))
    for node in nodes:
        x = groups.get(id(node))
        if x is None:
            graph.nodes.append(node)
            continue
        if x not in ready:
            matrices = [
                graph.constants[other.input[1]] for other in nodes if groups.get(id(other)) == x
            ]
            vector = smoothing(largest[x], np.max([np.abs(m).max(axis=1) for m in matrices], 0))
            smooth = graph.add("Mul", x, graph.constant(1 / vector))
            ready[x] = (*_quantised(graph, smooth, axes=[-1]), vector)
        integers, scale, vector = ready[x]
        rounded, sizes = _rounded(graph.constants[node.input[1]] * vector[:, None], axis=0)
        product = graph.add(
            "MatMulIntegerToFloat",
            *(integers, graph.constant(rounded), one, graph.constant(sizes), zero),
            domain=_CONTRIB,
        )
        graph.add("Mul", product, scale, output=node.output[0])


def smoothing(activation: Floats, weight: Floats) -> Floats:
    """By how much to divide every column of an activation, from largest absolute values.

    >>> smoothing(np.array([1, 16], np.float32), np.array([1, 1], np.float32)).tolist()
    [0.5, 2.0]
    """
    vector = np.sqrt(np.maximum(activation, 1e-5) / np.maximum(weight, 1e-5))
    even: Floats = (vector / np.exp(np.log(vector).mean())).astype(np.float32)
    return even


def _round_gathers(graph: Graph, table: str, shared: str, sizes: Floats, vector: Floats) -> None:
    """Look token embeddings up in the decoder's int8 table where they are the decoder's."""
    nodes, graph.nodes = graph.nodes, []
    for node in nodes:
        if node.op_type != "Gather" or node.input[0] != table:
            graph.nodes.append(node)
            continue
        integers = graph.add("Gather", shared, node.input[1])
        scale = graph.add("Gather", graph.constant(sizes), node.input[1])
        scale = graph.add("Unsqueeze", scale, graph.constant(_axes(-1)))
        scale = graph.add("Mul", scale, graph.constant(1 / vector))
        graph.add("Mul", graph.add("Cast", integers, to=_FLOAT), scale, output=node.output[0])


def _quantised(graph: Graph, x: str, *, axes: list[int]) -> tuple[str, str]:
    """uint8 around 128 and the scale, one for all numbers along `axes`: x = (u - 128) * scale.

    `axes` are the last ones of x. `QuantizeLinear` divides, rounds (halves to even), moves and
    narrows in one pass over x, to the bits of the four operators that it stands for.
    """
    along = graph.constant(np.array(axes, np.int64))
    most = graph.add("ReduceMax", graph.add("Abs", x), along, keepdims=1)
    scale = graph.add("Max", most, graph.constant(np.float32(1e-9)))
    scale = graph.add("Div", scale, graph.constant(np.float32(127)))
    scales = graph.add("Reshape", scale, graph.constant(_axes(-1)))
    middle = helper.make_tensor("", TensorProto.UINT8, [1], [128])
    zeros = graph.add("ConstantOfShape", graph.add("Shape", scales), value=middle)
    rows = graph.add("Flatten", x, axis=axes[0])
    integers = graph.add("QuantizeLinear", rows, scales, zeros, axis=0)
    return graph.add("Reshape", integers, graph.add("Shape", x)), scale


def _rounded(matrix: Floats, *, axis: int) -> tuple[npt.NDArray[np.int8], Floats]:
    """int8 of a matrix and its scales, one for all numbers along `axis`."""
    scales = np.maximum(np.abs(matrix).max(axis=axis), 1e-9).astype(np.float32) / np.float32(127)
    whole = np.round(matrix / np.expand_dims(scales, axis)).astype(np.int8)
    return whole, scales


def _same(value: npt.NDArray[Any], table: Floats) -> bool:
    return value.shape == table.shape and bool(np.array_equal(value, table))


def _axes(n: int) -> npt.NDArray[np.int64]:
    return np.array([n], np.int64)
