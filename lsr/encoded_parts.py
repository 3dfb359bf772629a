"""Vectors of a corpus in a folder of pieces, so that encoding goes on where it was after a kill.

A piece is a file of its own, `FIRST-LAST.npz`, there as soon as it is encoded and named after the
documents it holds, counted from 0 in the order of the corpus. Its folder is named after all that
vectors follow from (`parts_folder`), so that pieces of other settings are neither taken up nor
removed. Who encodes, one process (here) or a cluster (`ray_encoding.py`), may change between.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from scipy import sparse

from .encoders.protocol import SparseEncoder
from .errors import DatasetError
from .files import atomic_write
from .progress import Bar, bar
from .types import SparseMatrix

PIECE = 512
"""Documents of one file that one process writes: what is lost when it is killed."""


def parts_folder(place: Path, plan: Mapping[str, Any]) -> Path:
    """The folder in `place` of pieces of this plan, a JSON object of all that they follow from."""
    raw = orjson.dumps(plan, option=orjson.OPT_SORT_KEYS)
    return place / hashlib.blake2b(raw, digest_size=8).hexdigest()


def missing_spans(folder: Path, n_docs: int, *, size: int) -> list[tuple[int, int]]:
    """The documents that no piece holds: spans [first, last) that end at multiples of `size`."""
    at = 0
    spans: list[tuple[int, int]] = []
    for first, last in [*(span for span, _ in part_files(folder)), (n_docs, n_docs)]:
        while at < first:
            end = min(first, (at // size + 1) * size)
            spans.append((at, end))
            at = end
        at = max(at, last)
    return spans


def encode_in_parts(
    folder: Path, texts: Iterable[tuple[str, str]], encoder: SparseEncoder, *, n_docs: int
) -> Iterator[tuple[list[str], SparseMatrix]]:
    """Ids and vectors of all documents, a piece at a time in order, once all are in `folder`.

    `texts` are ids and texts of the whole corpus; those of pieces that are there are passed over.
    Raises `DatasetError` where there are not `n_docs`.
    """
    counter: Bar[None] = bar(total=n_docs, unit="documents", desc="encoding")
    rest = iter(texts)
    at = 0
    with counter:
        for first, last in missing_spans(folder, n_docs, size=PIECE):
            counter.update(sum(1 for _ in islice(rest, first - at)))
            some = list(islice(rest, last - first))
            if len(some) != last - first:
                raise DatasetError(
                    f"the corpus ends before document {last}, of which there were more when they "
                    "were counted; start again"
                )
            vectors = encoder.encode_documents([text for _, text in some])
            write_part(folder, first, [name for name, _ in some], vectors)
            counter.update(len(some))
            at = last
        counter.update(n_docs - at)
    yield from parts_in_order(folder, n_docs)


def write_part(folder: Path, first: int, ids: list[str], vectors: SparseMatrix) -> None:
    """The file of the documents from number `first` on."""
    with atomic_write(folder / f"{first:012}-{first + len(ids):012}.npz") as file:
        np.savez(
            file,
            ids=np.frombuffer(orjson.dumps(ids), np.uint8),
            data=vectors.data,
            indices=vectors.indices,
            indptr=vectors.indptr,
            shape=np.array(vectors.shape),
        )


def part_files(folder: Path) -> list[tuple[tuple[int, int], Path]]:
    """Spans of documents [first, last) and their files, by first and the longest first."""
    found = []
    for path in folder.glob("*-*.npz"):
        first, _, last = path.stem.partition("-")
        found.append(((int(first), int(last)), path))
    return sorted(found, key=lambda one: (one[0][0], -one[0][1]))


def parts_in_order(folder: Path, n_docs: int) -> Iterator[tuple[list[str], SparseMatrix]]:
    """All that is in the folder, which must hold every one of `n_docs` documents, each once.

    Pieces may overlap, since a process and a cluster cut them differently. Raises `DatasetError`
    for a file that is damaged.
    """
    at = 0
    for (first, last), path in part_files(folder):
        if last <= at:
            continue
        assert first <= at, f"{path}: wanted a file that begins with document {at}"
        with path.open("rb") as file:
            try:
                with np.load(file) as stored:
                    ids = orjson.loads(stored["ids"].tobytes())
                    parts = (stored["data"], stored["indices"], stored["indptr"])
                    matrix = sparse.csr_array(parts, shape=tuple(stored["shape"]))
            except (
                *(OSError, EOFError, ValueError, KeyError, RuntimeError),
                *(zipfile.BadZipFile, zlib.error),
            ) as error:
                raise DatasetError(
                    f"{path}: damaged ({error}); remove it, and the same command encodes it anew"
                ) from error
        yield ids[at - first :], matrix[at - first :]
        at = last
    assert at == n_docs, f"{folder}: documents from {at} to {n_docs} are missing"
