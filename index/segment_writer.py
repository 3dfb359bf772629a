"""Writing a segment: check the input, assemble the arrays, put them on disk durably or not."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

from lsr.errors import UsageError
from lsr.files import changing, sync_directory
from lsr.types import SparseMatrix, canonical

from . import blobs
from .columns import Column
from .effort import Effort
from .layout import (
    HEADER_BYTES,
    SEARCH_SECTIONS,
    SECTIONS,
    Array,
    Counts,
    Section,
    encode_header,
    padded,
)
from .rounding import Rounding

if TYPE_CHECKING:
    from .builder import Postings

_CHUNK = 1 << 24


@dataclass(frozen=True, slots=True)
class SegmentStats:
    """What `write_segment` wrote; `search_bytes` leaves out ids, columns and forward vectors."""

    n_docs: int
    n_postings: int
    n_saturated: int
    n_bytes: int
    search_bytes: int
    rounding: Rounding


def assemble(
    vectors: SparseMatrix,
    docids: npt.NDArray[np.uint32],
    doc_ids: Sequence[str],
    *,
    scale: float,
    groups: npt.NDArray[np.uint32] | None = None,
    columns: Mapping[str, Column] | None = None,
    keep_vectors: bool = True,
    grid: bool | None = None,
    reorder: bool | None = None,
    effort: Effort | None = None,
) -> "Postings":
    """Every array of a segment in file order, from checked input."""
    # Imported here: numba takes longer to import than a small index takes to open and search.
    from .builder import build_arrays

    vectors = canonical(vectors)
    n_docs = vectors.shape[0]
    docids = _u32(docids, n_docs, "docids")
    if len(np.unique(docids)) != n_docs:
        raise UsageError("docids must be distinct: each numbers one document")
    if len(doc_ids) != n_docs:
        raise UsageError(f"{n_docs} vectors but {len(doc_ids)} document ids")
    for name, column in (columns or {}).items():
        if len(column) != n_docs:
            raise UsageError(f"{n_docs} vectors but {len(column)} values in the column {name!r}")
    postings = build_arrays(
        vectors,
        docids,
        scale=float(np.float32(scale)),
        groups=None if groups is None else _u32(groups, n_docs, "groups"),
        keep_vectors=keep_vectors,
        grid=grid,
        reorder=reorder,
        effort=effort,
    )
    arrays, order = postings.arrays, postings.order
    arrays["ids"] = blobs.pack_strings([doc_ids[row] for row in order])
    arrays["columns"] = blobs.pack_columns(
        {
            name: replace(column, codes=column.codes[order])
            for name, column in (columns or {}).items()
        }
    )
    return postings


def write_segment(
    path: Path,
    vectors: SparseMatrix,
    docids: npt.NDArray[np.uint32],
    doc_ids: Sequence[str],
    *,
    scale: float,
    groups: npt.NDArray[np.uint32] | None = None,
    columns: Mapping[str, Column] | None = None,
    keep_vectors: bool = True,
    grid: bool | None = None,
    reorder: bool | None = None,
    effort: Effort | None = None,
) -> SegmentStats:
    """Write a segment durably: a temporary file, fsync, rename, fsync of the folder.

    `vectors` row i belongs to docids[i] and doc_ids[i]; the builder chooses its position. Replaces
    an existing file. Raises `DiskFull`, leaving no file behind, and `VectorError` or `UsageError`
    for input that cannot be indexed.
    """
    postings = assemble(
        vectors,
        docids,
        doc_ids,
        scale=scale,
        groups=groups,
        columns=columns,
        keep_vectors=keep_vectors,
        grid=grid,
        reorder=reorder,
        effort=effort,
    )
    counts, arrays = postings.counts, postings.arrays
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with changing(path):
            with temporary.open("wb") as file:
                n_bytes = _write(file, counts, arrays)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    search_bytes = sum(array.nbytes for name, array in arrays.items() if name in SEARCH_SECTIONS)
    return SegmentStats(
        counts.n_docs,
        counts.n_postings,
        counts.n_saturated,
        n_bytes,
        search_bytes,
        postings.rounding,
    )


class SegmentFile:
    """A segment in the making whose sections are mapped and filled in any order.

    A context manager: what `finish` has not completed is removed. The room is taken at once, so a
    full disk is a `DiskFull` here and not a fault while somebody writes into the map.
    """

    def __init__(self, path: Path, counts: Counts, blobs: Mapping[str, int]) -> None:
        """`blobs` has the bytes of `ids` and `columns`, which do not follow from the counts."""
        self._path = Path(path)
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._counts = counts
        self._places: dict[str, tuple[Section, int, int]] = {}
        at = HEADER_BYTES
        for section in SECTIONS:
            if section.present(counts):
                n = blobs[section.name] if section.count is None else section.count(counts)
                length = n * section.dtype_of(counts).itemsize
                self._places[section.name] = (section, at, length)
                at += padded(length)
        self._n_bytes = at
        try:
            with changing(self._path), self._temporary.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, at)
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise

    def __enter__(self) -> "SegmentFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._temporary.unlink(missing_ok=True)

    def view(self, name: str, first: int, last: int) -> Array:
        """Numbers first..last-1 of a section, zero until written; goes to the file in place."""
        section, offset, length = self._places[name]
        dtype = section.dtype_of(self._counts)
        if not 0 <= first <= last <= length // dtype.itemsize:
            raise AssertionError(f"{name}[{first}:{last}] of {length // dtype.itemsize}")
        if first == last:
            return np.empty(0, dtype)
        return np.memmap(
            self._temporary, dtype, "r+", offset + first * dtype.itemsize, (last - first,)
        )

    def finish(self, rounding: Rounding) -> SegmentStats:
        """Checksums, header, fsync, rename, fsync of the folder."""
        table: list[tuple[Section, int, int]] = []
        with changing(self._path):
            with self._temporary.open("r+b") as file:
                for section, offset, length in self._places.values():
                    crc = 0
                    file.seek(offset)
                    for at in range(0, length, _CHUNK):
                        crc = google_crc32c.extend(crc, file.read(min(_CHUNK, length - at)))
                    table.append((section, length, crc))
                file.seek(0)
                file.write(encode_header(self._counts, table))
                file.flush()
                os.fsync(file.fileno())
            self._temporary.replace(self._path)
            sync_directory(self._path.parent)
        counts = self._counts
        search_bytes = sum(n for one, n, _ in table if one.name in SEARCH_SECTIONS)
        return SegmentStats(
            counts.n_docs,
            counts.n_postings,
            counts.n_saturated,
            self._n_bytes,
            search_bytes,
            rounding,
        )


def _write(file: BinaryIO, counts: Counts, arrays: Mapping[str, Array]) -> int:
    """Sections first, the header last: a file that was cut short has no valid header."""
    file.write(bytes(HEADER_BYTES))
    table: list[tuple[Section, int, int]] = []
    for section in SECTIONS:
        if not section.present(counts):
            continue
        raw = np.ascontiguousarray(arrays[section.name], _dtype(section, counts)).view(np.uint8)
        crc = 0
        for at in range(0, len(raw), _CHUNK):
            piece = raw[at : at + _CHUNK]
            crc = google_crc32c.extend(crc, piece)
            file.write(piece.data)
        file.write(bytes(padded(len(raw)) - len(raw)))
        table.append((section, len(raw), crc))
    n_bytes = file.tell()
    file.seek(0)
    file.write(encode_header(counts, table))
    return n_bytes


def _dtype(section: Section, counts: Counts) -> np.dtype[Any] | None:
    return None if section.count is None else section.dtype_of(counts)


def _u32(values: npt.NDArray[np.uint32], n: int, name: str) -> npt.NDArray[np.uint32]:
    if values.dtype != np.uint32 or values.shape != (n,):
        raise UsageError(
            f"{name} must be uint32 of shape ({n},), got {values.dtype} of shape {values.shape}"
        )
    return values
