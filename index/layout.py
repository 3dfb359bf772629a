"""The segment file's outline: header, flags, section table; `FORMAT.md` tells the same to the byte.

A file is a 512-byte header and then its sections in ascending type, each at the next multiple of
64, the gaps and the end filled with zeros. Everything is little endian. The table holds no offsets:
they follow from the lengths, so no file can contain a hole, an overlap or a second truth.

This module encodes and decodes the header and knows how long every section must be. What the
sections mean is in `builder.py` (postings, forward vectors) and `blobs.py` (ids, columns).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from lsr.errors import IndexCorrupt, IndexVersion

MAGIC = b"\x89LSRSEG\n"
VERSION = 1
HEADER_BYTES = 512
ALIGNMENT = 64

BLOCK = 32
PAGE = 256
GROUP_PAGES = 128
CODES = 16
GRID_MINIMUM = 8192
"""Below this many documents no search uses the grid (`search.hpp`), so none is built."""
REORDER_MINIMUM = 20_000
"""Below this many documents searches read all rows (`search.hpp`), whatever their order."""

Array = npt.NDArray[Any]

_FIXED = struct.Struct("<8sIIIIIIQQQQfI")
_ENTRY = struct.Struct("<IIQ")
_TABLE_AT = _FIXED.size
_CRC_AT = HEADER_BYTES - 4
_MAX_SECTIONS = (_CRC_AT - _TABLE_AT) // _ENTRY.size


class Flag(IntFlag):
    """Which optional sections a segment has and how wide two of its columns are."""

    GRID = 1
    WIDE_RANK = 2
    GROUPS = 4
    FORWARD = 8
    WIDE_TERMS = 16


NO_FLAG = Flag(0)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a segment holds; all section lengths follow from it, except those of ids and columns."""

    flags: Flag
    n_docs: int
    n_terms: int
    n_heads: int
    n_postings: int
    n_tail_postings: int
    n_saturated: int
    scale: float

    @property
    def n_pages(self) -> int:
        """Pages of 256 documents."""
        return -(-self.n_docs // PAGE)

    @property
    def n_groups(self) -> int:
        """Groups of 128 pages."""
        return -(-self.n_pages // GROUP_PAGES)

    @property
    def stride(self) -> int:
        """Blocks in one grid line, rounded up to 64."""
        return -(-self.n_pages * (PAGE // BLOCK) // 64) * 64


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of section: its number in the table, the type of its values and their count."""

    number: int
    name: str
    dtype: str
    count: Callable[[Counts], int] | None
    flag: Flag = NO_FLAG
    """The section is there when this flag is set."""
    wide: Flag = NO_FLAG
    """With this flag set the values are u32 instead of u16."""

    def dtype_of(self, counts: Counts) -> np.dtype[np.generic]:
        """The numpy type of the numbers in a segment with these counts."""
        return np.dtype("<u4" if self.wide and self.wide in counts.flags else self.dtype)

    def present(self, counts: Counts) -> bool:
        """Whether a segment with these counts has this section."""
        return self.flag in counts.flags


SECTIONS: tuple[Section, ...] = (
    Section(1, "head_rank", "<u2", lambda c: c.n_terms, wide=Flag.WIDE_RANK),
    Section(2, "max_impact", "u1", lambda c: c.n_terms),
    Section(3, "codebook", "u1", lambda c: c.n_heads * CODES, flag=Flag.GRID),
    Section(4, "grid", "u1", lambda c: c.n_heads * c.stride // 2, flag=Flag.GRID),
    Section(5, "row_group", "<u4", lambda c: c.n_heads * (c.n_groups + 1)),
    Section(6, "row_dir", "<u2", lambda c: c.n_heads * c.n_pages),
    Section(7, "row_base", "<u8", lambda c: c.n_heads + 1),
    Section(8, "rows", "u1", lambda c: 2 * (c.n_postings - c.n_tail_postings)),
    Section(9, "tail_start", "<u4", lambda c: c.n_terms + 1),
    Section(10, "tail_doc", "<u4", lambda c: c.n_tail_postings),
    Section(11, "tail_impact", "u1", lambda c: c.n_tail_postings),
    Section(12, "external", "<u4", lambda c: c.n_docs),
    Section(13, "group", "<u4", lambda c: c.n_docs, flag=Flag.GROUPS),
    Section(14, "ids", "u1", None),
    Section(15, "columns", "u1", None),
    Section(16, "forward_start", "<u8", lambda c: c.n_docs + 1, flag=Flag.FORWARD),
    Section(
        17, "forward_term", "<u2", lambda c: c.n_postings, flag=Flag.FORWARD, wide=Flag.WIDE_TERMS
    ),
    Section(18, "forward_weight", "<f2", lambda c: c.n_postings, flag=Flag.FORWARD),
)
_BY_NUMBER = {section.number: section for section in SECTIONS}

SEARCH_SECTIONS = frozenset(section.name for section in SECTIONS[:12])
"""The sections that a search reads; the rest names, filters, merges and explains."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One section of one file."""

    section: Section
    offset: int
    length: int
    crc: int


@dataclass(frozen=True, slots=True)
class Header:
    """A decoded header: the counts, the sections in file order and the length of the whole file."""

    counts: Counts
    entries: tuple[Entry, ...]
    n_bytes: int


def padded(length: int) -> int:
    """`length` rounded up to the alignment."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def encode_header(counts: Counts, sections: list[tuple[Section, int, int]]) -> bytes:
    """The 512 bytes for `counts` and the (section, length, crc) of every section in file order."""
    n_bytes = HEADER_BYTES + sum(padded(length) for _, length, _ in sections)
    header = bytearray(HEADER_BYTES)
    _FIXED.pack_into(
        header,
        0,
        MAGIC,
        VERSION,
        int(counts.flags),
        counts.n_docs,
        counts.n_terms,
        counts.n_heads,
        len(sections),
        counts.n_postings,
        counts.n_tail_postings,
        counts.n_saturated,
        n_bytes,
        counts.scale,
        0,
    )
    for i, (section, length, crc) in enumerate(sections):
        _ENTRY.pack_into(header, _TABLE_AT + i * _ENTRY.size, section.number, crc, length)
    struct.pack_into("<I", header, _CRC_AT, google_crc32c.value(bytes(header[:_CRC_AT])))
    return bytes(header)


def remedy(path: Path | str | None) -> str:
    """What to do about a damaged segment, or one that is gone, by where it lies."""
    otherwise = "Restore a copy or rebuild the index."
    if path is None or Path(path).parent.name != "segments":
        return otherwise
    index = Path(path).parent.parent
    is_index = (index / "catalog.sqlite").is_file()
    return f"Run `lsr repair {index}`. {otherwise}" if is_index else otherwise


def decode_header(header: bytes, *, path: Path | str, n_bytes: int) -> Header:
    """Read and check the first 512 bytes of a file that is `n_bytes` long.

    Raises `IndexVersion` for a file of a later format and `IndexCorrupt` for everything else that
    contradicts FORMAT.md; the message names the field or the section.
    """

    def corrupt(what: str) -> IndexCorrupt:
        return IndexCorrupt(f"{path}: {what}", remedy=remedy(path))

    if len(header) < HEADER_BYTES:
        raise corrupt(f"header: the file has {n_bytes} bytes, a segment at least {HEADER_BYTES}")
    if header[:8] != MAGIC:
        raise corrupt(f"header: begins with {header[:8]!r}, a segment begins with {MAGIC!r}")
    (crc,) = struct.unpack_from("<I", header, _CRC_AT)
    if crc != google_crc32c.value(header[:_CRC_AT]):
        raise corrupt("header: its checksum does not match its bytes")
    fields = _FIXED.unpack_from(header)
    _, version, flags, n_docs, n_terms, n_heads, n_sections = fields[:7]
    n_postings, n_tail_postings, n_saturated, declared, scale, reserved = fields[7:]
    if version != VERSION or flags & ~sum(Flag):
        raise IndexVersion(
            f"{path}: format version {version}, flags {flags:#x}; this release reads version "
            f"{VERSION}, flags {sum(Flag):#x}. Install a newer release or rebuild the index."
        )
    if declared != n_bytes:
        raise corrupt(f"header: declares {declared} bytes, the file has {n_bytes}")
    if n_tail_postings > n_postings or n_heads > n_terms or n_sections > _MAX_SECTIONS:
        raise corrupt(
            f"header: {n_tail_postings} of {n_postings} postings in tails, {n_heads} heads of "
            f"{n_terms} terms and {n_sections} sections cannot be"
        )
    if not (scale > 0 and np.isfinite(scale)):
        raise corrupt(f"header: scale = {scale} is not a positive number")
    counts = Counts(
        Flag(flags), n_docs, n_terms, n_heads, n_postings, n_tail_postings, n_saturated, scale
    )
    entries, end = _decode_table(header, counts, n_sections, corrupt)
    tail = header[_TABLE_AT + n_sections * _ENTRY.size : _CRC_AT]
    if reserved or any(tail):
        raise corrupt("header: reserved bytes are not zero")
    if end != n_bytes:
        raise corrupt(f"header: the sections end at byte {end}, the file at {n_bytes}")
    return Header(counts, entries, n_bytes)


def _decode_table(
    header: bytes, counts: Counts, n_sections: int, corrupt: Callable[[str], IndexCorrupt]
) -> tuple[tuple[Entry, ...], int]:
    """The entries with their offsets, and where the last section's padding ends."""
    entries: list[Entry] = []
    offset = HEADER_BYTES
    for i in range(n_sections):
        number, crc, length = _ENTRY.unpack_from(header, _TABLE_AT + i * _ENTRY.size)
        section = _BY_NUMBER.get(number)
        if section is None:
            raise corrupt(f"header: section {i} has the unknown type {number}")
        if section.count is not None:
            wanted = section.count(counts) * section.dtype_of(counts).itemsize
            if length != wanted:
                raise corrupt(f"{section.name}: has {length} bytes, {wanted} expected")
        entries.append(Entry(section, offset, length, crc))
        offset += padded(length)
    got = [entry.section.name for entry in entries]
    wanted_names = [section.name for section in SECTIONS if section.present(counts)]
    if got != wanted_names:
        raise corrupt(f"header: has the sections {got}, its flags require {wanted_names}")
    return tuple(entries), offset
