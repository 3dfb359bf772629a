"""Protobuf's encoding, as far as CIFF files and ONNX graphs need it: fields to and from bytes.

A message is a row of fields, each a key (number and wire type) and its bytes. Messages that are
written one after the other are read as one whose repeated fields are joined.
"""

from collections.abc import Iterator

_NUMBER, _EIGHT, _COUNTED, _FOUR = 0, 1, 2, 5
"""Wire types: a varint, eight bytes, a length and so many bytes, four bytes."""


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of every field: an int, or the bytes of anything else.

    Raises `ValueError` for what is cut off or no message.
    """
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == _NUMBER:
            value, at = read_varint(message, at)
            yield field, value
            continue
        length = {_EIGHT: 8, _FOUR: 4}.get(kind, -1)
        if kind == _COUNTED:
            length, at = read_varint(message, at)
        if length < 0 or at + length > len(message):
            raise ValueError(f"a message is damaged, field {field} of kind {kind}")
        yield field, message[at : at + length]
        at += length


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, seven bits a byte, lowest first, and where it ends.

    Raises `ValueError` for one that is cut off or has more than 64 bits.
    """
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError(f"a number is damaged at byte {at:,}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def varint(value: int) -> bytes:
    """The bytes of a number of 0 or more.

    >>> varint(1).hex(), varint(300).hex()
    ('01', 'ac02')
    """
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """A field that is a number of 0 or more.

    >>> number(3, 1).hex(), number(20, 300).hex()
    ('1801', 'a001ac02')
    """
    return varint(field << 3 | _NUMBER) + varint(value)


def counted(field: int, value: bytes) -> bytes:
    """A field that is a text, bytes or a message.

    >>> counted(7, b"ab").hex(), counted(12, bytes(300))[:3].hex()
    ('3a026162', '62ac02')
    """
    return varint(field << 3 | _COUNTED) + varint(len(value)) + value
