"""The loops over every posting of a CIFF file, compiled."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels import compiled


@compiled
def _varint_at(out: Any, at: Any, value: Any) -> Any:
    while value >= 0x80:
        out[at] = value & 0x7F | 0x80
        value >>= 7
        at += 1
    out[at] = value
    return at + 1


@compiled
def _varint_length(value: Any) -> Any:
    n = 1
    while value >= 0x80:
        value >>= 7
        n += 1
    return n


@compiled
def _encoded(gaps: Any, counts: Any) -> Any:
    out = np.empty(len(gaps) * 16, np.uint8)
    at = 0
    for i in range(len(gaps)):
        gap, count = gaps[i], counts[i]
        length = 2 + _varint_length(gap) + _varint_length(count)
        out[at] = 0x22  # field 4, bytes
        at = _varint_at(out, at + 1, length)
        out[at] = 0x08
        at = _varint_at(out, at + 1, gap)
        out[at] = 0x10
        at = _varint_at(out, at + 1, count)
    return out[:at]


@compiled
def _decoded(message: Any) -> Any:
    docids = np.empty(len(message) // 2 + 1, np.int64)
    counts = np.empty(len(message) // 2 + 1, np.int64)
    n = 0
    docid = 0
    at = 0
    end = len(message)
    while at < end:
        key, at = _read(message, at, end)
        if key != 0x22:
            if key & 7 == 0:
                _, at = _read(message, at, end)
            elif key & 7 == 2:
                length, at = _read(message, at, end)
                if length < 0 or length > end - at:
                    return docids[:0], counts[:0], False
                at += length
            else:
                return docids[:0], counts[:0], False
            continue
        length, at = _read(message, at, end)
        if length < 0 or length > end - at:
            return docids[:0], counts[:0], False
        stop = at + length
        gap = 0
        count = 0
        while at < stop:
            key, at = _read(message, at, stop)
            value, at = _read(message, at, stop)
            if key == 0x08:
                gap = value
            elif key == 0x10:
                count = value
            else:
                return docids[:0], counts[:0], False
        docid += gap
        docids[n] = docid
        counts[n] = count
        n += 1
    return docids[:n], counts[:n], at == end


@compiled
def _read(message: Any, at: Any, end: Any) -> Any:
    """A varint and where it ends; behind `end` when it is cut off."""
    value = np.int64(0)
    shift = 0
    while at < end:
        byte = np.int64(message[at])
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 56:
            break
    return value, end + 1


def encode_postings(
    gaps: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """The bytes of the `posting` members of one list."""
    encoded: npt.NDArray[np.uint8] = _encoded(gaps, counts)
    return encoded


def decode_postings(
    message: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(docids, frequencies) of a PostingsList message; none of one that is damaged."""
    docids, counts, whole = _decoded(message)
    return (docids, counts) if whole else (docids[:0], counts[:0])
