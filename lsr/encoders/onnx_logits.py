"""The logits inside an exported graph, as further outputs of it: without the package onnx.

A graph of `onnx_export` gives pooled weights. Where a weight comes from is told by what was pooled,
a slice of the vocabulary at a time:

    Concat <- ReduceMax <- logits                      one input a slice, integers where int8
           <- Squeeze <- MatMul(mask, activated)       of a sum

A file is one protobuf message, and messages written one after the other are read as one whose lists
are joined (protobuf's encoding, "last one wins" and repeated fields). So an output is added by
appending some bytes to the file; finding the names takes the few fields of nodes below.
"""

from collections.abc import Iterator

from ..errors import EncoderError

# Field numbers of onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_OUTPUT = 1, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR = 1, 2, 4
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_KIND = 1, 2, 1, 1
_FLOAT, _INT32 = 1, 6

_VARINT, _EIGHT, _COUNTED, _FOUR = 0, 1, 2, 5
"""Wire types: what a field's bytes are."""


class NoLogits(EncoderError):
    """A graph of another shape than `onnx_export` writes, or no graph at all."""


def with_logits(graph: bytes) -> tuple[bytes, list[str]]:
    """The graph with what it pools as outputs too, and their names in the order of the vocabulary.

    Each is (batch, length, slice): logits up to the bias and a factor above 0 of each term, which
    no comparison of positions notices; of a sum, activated logits. Raises `NoLogits`.
    """
    try:
        producers = dict(_nodes(graph))
        last = [node for node in producers.values() if node[0] == "Concat"][-1]
        names = [_pooled(producers, part) for part in last[1]]
        outputs = b"".join(
            _message(_GRAPH_OUTPUT, _output(name, integer=producers[name][0] == "MatMulInteger"))
            for name in names
        )
    except (IndexError, KeyError, ValueError) as error:
        raise NoLogits(f"no logits are pooled in it ({error!r})") from None
    return graph + _message(_MODEL_GRAPH, outputs), names


_Node = tuple[str, list[str]]
"""Operator and inputs."""


def _pooled(producers: dict[str, _Node], part: str) -> str:
    operator, inputs = producers[part]
    if operator == "ReduceMax":
        return inputs[0]
    if operator == "Squeeze" and producers[inputs[0]][0] == "MatMul":
        return producers[inputs[0]][1][1]
    raise ValueError(operator)


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


def _output(name: str, *, integer: bool) -> bytes:
    """A `ValueInfoProto`: a tensor of any shape."""
    kind = bytes([_TENSOR_KIND << 3 | _VARINT, _INT32 if integer else _FLOAT])
    of_type = _message(_VALUE_TYPE, _message(_TYPE_TENSOR, kind))
    return _message(_VALUE_NAME, name.encode()) + of_type


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of every counted field (a message, a string); numbers are passed over.

    Raises `ValueError` and `IndexError` for what is no message.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _COUNTED:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError(f"a field of {size} bytes, {len(message) - at} are left")
            yield key >> 3, message[at : at + size]
            at += size
        elif kind in (_EIGHT, _FOUR):
            at += 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, seven bits a byte, lowest first, and where it ends."""
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _message(field: int, content: bytes) -> bytes:
    """A counted field.

    >>> _message(7, b"ab").hex(), _message(12, bytes(300))[:3].hex()
    ('3a026162', '62ac02')
    """
    size, written = len(content), bytearray()
    while size > 127:
        written.append(size & 127 | 128)
        size >>= 7
    return bytes([field << 3 | _COUNTED]) + bytes([*written, size]) + content
