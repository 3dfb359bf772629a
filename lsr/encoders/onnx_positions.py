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

# Field numbers of onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_OUTPUT = 1, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INTEGER, _ATTRIBUTE_KIND = 1, 3, 20
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_KIND = 1, 2, 1, 1
_INTEGER_ATTRIBUTE, _INT64_TENSOR = 2, 7

_VARINT, _EIGHT, _COUNTED, _FOUR = 0, 1, 2, 5
"""Wire types: what a field's bytes are."""

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
        _message(_GRAPH_NODE, _argmax(tensor, name)) + _message(_GRAPH_OUTPUT, _output(name))
        for tensor, name in zip(pooled, names, strict=True)
    )
    return graph + _message(_MODEL_GRAPH, added), names


def _pooled(producers: dict[str, _Node], part: str) -> str:
    operator, inputs = producers[part]
    if operator == "ReduceMax":
        return inputs[0]
    if operator == "Squeeze" and producers[inputs[0]][0] == "MatMul":
        return producers[inputs[0]][1][1]
    raise ValueError(f"pooled by {operator}")


def _nodes(model: bytes) -> Iterator[tuple[str, _Node]]:
    """Every node under the name of its first output, in the order of the graph."""
    for number, graph in _fields(memoryview(model)):
        if number != _MODEL_GRAPH:
            continue
        for part, node in _fields(graph):
            if part != _GRAPH_NODE:
                continue
            operator, inputs, outputs = "", [], []
            for field, value in _fields(node):
                if field == _NODE_INPUT:
                    inputs.append(str(value, "utf-8"))
                elif field == _NODE_OUTPUT:
                    outputs.append(str(value, "utf-8"))
                elif field == _NODE_OPERATOR:
                    operator = str(value, "utf-8")
            yield outputs[0], (operator, inputs)


def _argmax(tensor: str, name: str) -> bytes:
    """A `NodeProto`: over the positions, which are not kept as a dimension."""
    return (
        _message(_NODE_INPUT, tensor.encode())
        + _message(_NODE_OUTPUT, name.encode())
        + _message(_NODE_OPERATOR, b"ArgMax")
        + _message(_NODE_ATTRIBUTE, _attribute(b"axis", 1))
        + _message(_NODE_ATTRIBUTE, _attribute(b"keepdims", 0))
    )


def _attribute(name: bytes, value: int) -> bytes:
    return (
        _message(_ATTRIBUTE_NAME, name)
        + _number(_ATTRIBUTE_INTEGER, value)
        + _number(_ATTRIBUTE_KIND, _INTEGER_ATTRIBUTE)
    )


def _output(name: str) -> bytes:
    """A `ValueInfoProto`: a tensor of any shape."""
    kind = _message(_TYPE_TENSOR, _number(_TENSOR_KIND, _INT64_TENSOR))
    return _message(_VALUE_NAME, name.encode()) + _message(_VALUE_TYPE, kind)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of every counted field (a message, a string); numbers are passed over.

    Raises `ValueError` and `IndexError` for what is no message.
    """
    at = 0
    while at < len(message):
        key, at = _read(message, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _read(message, at)
        elif kind == _COUNTED:
            size, at = _read(message, at)
            if at + size > len(message):
                raise ValueError(f"a field has {size} bytes, {len(message) - at} are left")
            yield key >> 3, message[at : at + size]
            at += size
        elif kind in (_EIGHT, _FOUR):
            at += 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f"a field is of the wire type {kind}")


def _read(message: memoryview, at: int) -> tuple[int, int]:
    """The varint at `at`, seven bits a byte, lowest first, and where it ends."""
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])


def _number(field: int, value: int) -> bytes:
    """A field that is a number.

    >>> _number(3, 1).hex(), _number(20, 300).hex()
    ('1801', 'a001ac02')
    """
    return _varint(field << 3 | _VARINT) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    """A counted field.

    >>> _message(7, b"ab").hex(), _message(12, bytes(300))[:3].hex()
    ('3a026162', '62ac02')
    """
    return _varint(field << 3 | _COUNTED) + _varint(len(content)) + content
