"""Where the weights of a graph come from, as further outputs of it: without the package onnx.

What `onnx_export` writes gives pooled weights. It pools a slice of the vocabulary at a time,

    Concat <- ReduceMax <- logits                      one input a slice, integers where int8
           <- Squeeze <- MatMul(mask, activated)       of a sum

and an `ArgMax` over the same tensors gives positions. A file is one protobuf message, and messages
written one after the other are read as one whose lists are joined (protobuf's encoding, repeated
fields), so nodes and outputs are added by appending some bytes to the file; finding the tensors
takes the few fields of nodes below.
"""

from collections.abc import Iterator

from ..protobuf import counted, fields, number

# Field numbers of onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_OUTPUT = 1, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INTEGER, _ATTRIBUTE_KIND = 1, 3, 20
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_KIND = 1, 2, 1, 1
_INTEGER_ATTRIBUTE, _INT64_TENSOR = 2, 7

_Node = tuple[str, list[str]]
"""Operator and inputs."""


def with_positions(graph: bytes) -> tuple[bytes, list[str]]:
    """The graph with outputs (batch, slice) int64, whose names are in the order of the vocabulary.

    Each is the first position where the logit of a term is largest, of a sum the activated logit:
    the bias and a factor above 0 of each term, which come later, change no comparison. Raises
    `ValueError` where a graph pools otherwise, or is none.
    """
    try:
        producers = dict(_nodes(graph))
        last = [node for node in producers.values() if node[0] == "Concat"][-1]
        pooled = [_pooled(producers, part) for part in last[1]]
    except (IndexError, KeyError) as error:
        raise ValueError(f"a part is missing: {error}") from None
    names = [f"position_of_{name}" for name in pooled]
    added = b"".join(
        counted(_GRAPH_NODE, _argmax(tensor, name)) + counted(_GRAPH_OUTPUT, _output(name))
        for tensor, name in zip(pooled, names, strict=True)
    )
    return graph + counted(_MODEL_GRAPH, added), names


def _pooled(producers: dict[str, _Node], part: str) -> str:
    operator, inputs = producers[part]
    if operator == "ReduceMax":
        return inputs[0]
    if operator == "Squeeze" and producers[inputs[0]][0] == "MatMul":
        return producers[inputs[0]][1][1]
    raise ValueError(f"pooled by {operator}")


def _nodes(model: bytes) -> Iterator[tuple[str, _Node]]:
    """Every node under the name of its first output, in the order of the graph."""
    for graph in _parts(memoryview(model), _MODEL_GRAPH):
        for node in _parts(graph, _GRAPH_NODE):
            inputs = [str(name, "utf-8") for name in _parts(node, _NODE_INPUT)]
            outputs = [str(name, "utf-8") for name in _parts(node, _NODE_OUTPUT)]
            operator = "".join(str(name, "utf-8") for name in _parts(node, _NODE_OPERATOR))
            yield outputs[0], (operator, inputs)


def _parts(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The messages or texts in this field of a message."""
    for field, value in fields(message):
        if field == wanted and not isinstance(value, int):
            yield value


def _argmax(tensor: str, name: str) -> bytes:
    """A `NodeProto`: over the positions, which are not kept as a dimension."""
    return (
        counted(_NODE_INPUT, tensor.encode())
        + counted(_NODE_OUTPUT, name.encode())
        + counted(_NODE_OPERATOR, b"ArgMax")
        + counted(_NODE_ATTRIBUTE, _attribute(b"axis", 1))
        + counted(_NODE_ATTRIBUTE, _attribute(b"keepdims", 0))
    )


def _attribute(name: bytes, value: int) -> bytes:
    return (
        counted(_ATTRIBUTE_NAME, name)
        + number(_ATTRIBUTE_INTEGER, value)
        + number(_ATTRIBUTE_KIND, _INTEGER_ATTRIBUTE)
    )


def _output(name: str) -> bytes:
    """A `ValueInfoProto`: a tensor of any shape."""
    kind = counted(_TYPE_TENSOR, number(_TENSOR_KIND, _INT64_TENSOR))
    return counted(_VALUE_NAME, name.encode()) + counted(_VALUE_TYPE, kind)
