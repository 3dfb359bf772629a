"""The two sections that hold strings: document ids and filter columns, packed and unpacked.

Both are read lazily: opening a segment checks the offsets of the ids, and decodes neither.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import IndexCorrupt, UsageError

from .columns import KINDS, Column, Kind
from .layout import ALIGNMENT, Array, padded

Corrupt = Callable[[str, str], IndexCorrupt]
"""(section, what is wrong) -> the error to raise."""

_COUNT = struct.Struct("<II")
_COLUMN = struct.Struct("<IIQQQ")
_NUMBERS: dict[str, np.dtype[Any]] = {
    "int": np.dtype("<i8"),
    "float": np.dtype("<f8"),
    "bool": np.dtype("u1"),
    "date": np.dtype("<i8"),
}


def pack_strings(strings: Sequence[str]) -> npt.NDArray[np.uint8]:
    """len + 1 offsets u64, counted from the end of the offsets, then the UTF-8 of the strings."""
    try:
        encoded = [string.encode() for string in strings]
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{error.object!r} is not valid Unicode ({error.reason}); it cannot be stored as UTF-8"
        ) from None
    offsets = np.zeros(len(encoded) + 1, "<u8")
    np.cumsum([len(one) for one in encoded], out=offsets[1:])
    return np.frombuffer(offsets.tobytes() + b"".join(encoded), np.uint8)


class Strings:
    """`pack_strings` read in place: offsets are checked once, a string is decoded when asked."""

    def __init__(
        self, raw: npt.NDArray[np.uint8], n: int, corrupt: Corrupt, section: str = "ids"
    ) -> None:
        self._section = section
        self._corrupt = corrupt
        head = 8 * (n + 1)
        if len(raw) < head:
            raise corrupt(section, f"has {len(raw)} bytes, {n} strings need {head} and more")
        self._offsets = raw[:head].view("<u8")
        self._bytes = raw[head:]
        offsets = self._offsets
        if offsets[0] != 0 or offsets[-1] != len(self._bytes) or np.any(offsets[1:] < offsets[:-1]):
            raise corrupt(
                section, f"offsets must not decrease and run from 0 to {len(self._bytes)}"
            )

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def raw(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
        """(len + 1,) offsets, and the bytes they point into."""
        return self._offsets, self._bytes

    def take(self, positions: npt.NDArray[np.integer]) -> list[str]:
        """The strings at `positions`, in their order; all in [0, len)."""
        # Offsets leave numpy together: one by one they cost more than the decoding.
        starts = self._offsets[positions].tolist()
        ends = self._offsets[np.asarray(positions, np.int64) + 1].tolist()
        view = self._bytes.data
        try:
            return [str(view[a:b], "utf-8") for a, b in zip(starts, ends, strict=True)]
        except UnicodeDecodeError as error:
            raise self._corrupt(self._section, f"a string is not UTF-8 ({error})") from None


def pack_columns(columns: Mapping[str, Column]) -> npt.NDArray[np.uint8]:
    """A directory, then per column its name, its values and its codes, each part padded to 64."""
    parts: list[bytes] = []
    at = padded(_COUNT.size + len(columns) * _COLUMN.size)
    directory = bytearray(_COUNT.pack(len(columns), 0))
    for name, column in columns.items():
        encoded = name.encode()
        if column.kind == "keyword":
            values = pack_strings([str(value) for value in column.values]).tobytes()
        else:
            values = column.values.astype(_NUMBERS[column.kind]).tobytes()
        directory += _COLUMN.pack(
            KINDS.index(column.kind) + 1, len(encoded), len(column.values), len(values), at
        )
        for part in (encoded, values, column.codes.astype("<i4").tobytes()):
            parts.append(_pad(part))
            at += padded(len(part))
    return np.frombuffer(_pad(bytes(directory)) + b"".join(parts), np.uint8)


def _pad(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % ALIGNMENT)


def unpack_columns(raw: npt.NDArray[np.uint8], n_docs: int, corrupt: Corrupt) -> dict[str, Column]:
    """The columns by name, with every length and code checked."""

    def wrong(what: str) -> IndexCorrupt:
        return corrupt("columns", what)

    if len(raw) < _COUNT.size:
        raise wrong(f"has {len(raw)} bytes")
    n_columns, reserved = _COUNT.unpack(raw[: _COUNT.size].tobytes())
    at = padded(_COUNT.size + n_columns * _COLUMN.size)
    if reserved or at > len(raw):
        raise wrong(f"a directory of {n_columns} columns does not fit its {len(raw)} bytes")
    columns: dict[str, Column] = {}
    for i in range(n_columns):
        entry = raw[_COUNT.size + i * _COLUMN.size :][: _COLUMN.size].tobytes()
        number, name_length, n_values, values_length, offset = _COLUMN.unpack(entry)
        if not 1 <= number <= len(KINDS) or offset != at:
            raise wrong(f"column {i} has kind {number} at byte {offset}, expected byte {at}")
        kind = KINDS[number - 1]
        values_at = at + padded(name_length)
        codes_at = values_at + padded(values_length)
        at = codes_at + padded(4 * n_docs)
        if at > len(raw):
            raise wrong(f"column {i} ends at byte {at} of {len(raw)}")
        try:
            name = raw[offset : offset + name_length].tobytes().decode()
        except UnicodeDecodeError:
            raise wrong(f"the name of column {i} is not UTF-8") from None
        values = _unpack_values(raw[values_at : values_at + values_length], kind, n_values, corrupt)
        codes = raw[codes_at : codes_at + 4 * n_docs].view("<i4")
        if n_docs and not (int(codes.min()) >= -1 and int(codes.max()) < n_values):
            raise wrong(f"column {name!r} has codes outside -1..{n_values - 1}")
        columns[name] = Column(kind, values, codes)
    if at != len(raw) or len(columns) != n_columns:
        raise wrong(f"holds {len(columns)} names and ends at {at}, not {n_columns} and {len(raw)}")
    return columns


def _unpack_values(
    raw: npt.NDArray[np.uint8], kind: Kind, n_values: int, corrupt: Corrupt
) -> Array:
    if kind == "keyword":
        strings = Strings(raw, n_values, corrupt, "columns")
        values: Array = np.array(strings.take(np.arange(n_values)), dtype=object)
    else:
        dtype = _NUMBERS[kind]
        if len(raw) != n_values * dtype.itemsize:
            raise corrupt("columns", f"{n_values} values of kind {kind} in {len(raw)} bytes")
        values = raw.view(dtype)
        if kind == "bool":
            if n_values and int(values.max()) > 1:
                raise corrupt("columns", "a truth value is neither 0 nor 1")
            values = values.astype(bool)
    if bool(np.any(values[1:] <= values[:-1])):
        raise corrupt("columns", "values must increase")
    return values
