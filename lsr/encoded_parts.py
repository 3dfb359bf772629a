"""Vectors of a corpus in a folder of pieces, so that encoding goes on where it was after a kill.

A piece is a file of its own, `FIRST-LAST.npz`, there as soon as it is encoded and named after the
documents it holds, counted from 0 in the order of the corpus. `plan.json` says which corpus, which
encoder and which settings the pieces are of; who encodes, one process (here) or a cluster
(`ray_encoding.py`), may change between.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from scipy import sparse

from .encoders.protocol import SparseEncoder
from .errors import DatasetError, UsageError
from .files import atomic_write
from .progress import Bar, bar
from .types import SparseMatrix

PIECE = 512
"""Documents of one file that one process writes: what is lost when it is killed."""
_PLAN = "plan.json"
_MINE = re.compile(r"\d{12}-\d{12}\.npz|\.\d{12}-\d{12}\.npz\..*|plan\.json|\.plan\.json\..*")
"""Pieces, the plan, and what a kill leaves of one that was being written."""


def begin_parts(folder: Path, plan: Mapping[str, Any]) -> None:
    """Keep the pieces in `folder`, which exists, if they are of this plan; remove them if not.

    `plan` is a JSON object with at least `corpus`, `space` and `build`. Raises `UsageError` for a
    folder that holds anything else.
    """
    strange = sorted(path.name for path in folder.iterdir() if not _MINE.fullmatch(path.name))
    before: Any = None
    file = folder / _PLAN
    if file.is_file():
        with suppress(orjson.JSONDecodeError):
            before = orjson.loads(file.read_bytes())
        if not isinstance(before, dict) or not {"corpus", "space", "build"} <= before.keys():
            strange.append(_PLAN)
    if strange:
        raise UsageError(
            f"{folder}, where encoded pieces would wait, holds something else, such as "
            f"{strange[0]}; choose another OUTPUT"
        )
    if before != dict(plan):
        _empty(folder)
        with atomic_write(file) as written:
            written.write(orjson.dumps(plan))


def end_parts(folder: Path) -> None:
    """Remove the folder, unless somebody put something of theirs into it meanwhile."""
    _empty(folder)
    with suppress(OSError):
        folder.rmdir()


def _empty(folder: Path) -> None:
    """Remove what is ours; the plan goes last, so that no piece is ever without one."""
    ours = [path for path in folder.iterdir() if _MINE.fullmatch(path.name)]
    for path in sorted(ours, key=lambda path: path.name == _PLAN):
        path.unlink()


def encode_in_parts(
    folder: Path, texts: Iterable[tuple[str, str]], encoder: SparseEncoder, *, n_docs: int
) -> Iterator[tuple[list[str], SparseMatrix]]:
    """Ids and vectors of all documents, a piece at a time in order, once all are in `folder`.

    `texts` are ids and texts of the whole corpus; those of pieces that are there are passed over.
    Raises `DatasetError` where there are not `n_docs`.
    """
    spans = [span for span, _ in part_files(folder)]
    counter: Bar[None] = bar(total=n_docs, unit="documents", desc="encoding")
    rest = iter(texts)
    at = reach = following = 0
    with counter:
        while at < n_docs:
            while following < len(spans) and spans[following][0] <= at:
                reach = max(reach, spans[following][1])
                following += 1
            limits = (at + PIECE, n_docs, *(first for first, _ in spans[following : following + 1]))
            end = reach if reach > at else min(limits)
            some = list(islice(rest, end - at))
            if len(some) != end - at:
                raise DatasetError(
                    f"the corpus ends before document {end}, of which there were more when they "
                    "were counted; start again"
                )
            if reach <= at:
                vectors = encoder.encode_documents([text for _, text in some])
                write_part(folder, at, [name for name, _ in some], vectors)
            counter.update(len(some))
            at = end
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
        try:
            with path.open("rb") as file, np.load(file) as stored:
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
