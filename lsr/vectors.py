"""Vectors of an encoder on disk: each text is encoded once, and a kill costs one block of them.

Blocks of rows, `000007-<crc32c>.npy` (dense, float16, memory-mapped) or `.npz` (sparse rows,
float32, read into memory). A block is durable before the next is begun; a kill costs one. float16
moves a cosine by at most some 0.0005.
"""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import google_crc32c
import numpy as np
import numpy.typing as npt
from scipy import sparse

from .errors import ScoresError
from .files import atomic_write, locked
from .progress import Bar, bar
from .types import DenseMatrix, SparseMatrix

Vectors: TypeAlias = DenseMatrix | SparseMatrix
"""One row a text: (n, width) float32, or a sparse matrix."""

BLOCK = 256
"""Texts a block, what a kill costs: some twenty seconds of a small transformer on one CPU core."""

_PACE = "pace.txt"
"""Texts and seconds, over all calls that filled the folder."""

Embed = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True)
class VectorStore:
    """All rows of one side of one encoder, in the order of the texts."""

    dense: tuple[npt.NDArray[np.float16], ...] = ()
    """Memory maps of `block` rows each, but for the last."""
    sparse_rows: SparseMatrix | None = None
    block: int = BLOCK

    def rows(self, which: npt.NDArray[np.integer]) -> Vectors:
        """The vectors of these texts, float32, in the order asked for."""
        if self.sparse_rows is not None:
            chosen: SparseMatrix = self.sparse_rows[which]
            return chosen
        width = self.dense[0].shape[1] if self.dense else 0
        found = np.empty((len(which), width), np.float32)
        home = which // self.block
        for number in np.unique(home):
            mine = np.flatnonzero(home == number)
            found[mine] = self.dense[number][which[mine] - number * self.block]
        return found


def update_vectors(
    folder: Path,
    texts: Sequence[str],
    embed: Embed,
    *,
    desc: str,
    deadline: float | None = None,
    quiet: bool = False,
    block: int = BLOCK,
) -> VectorStore | None:
    """Embed what `folder` does not hold yet; None if `deadline` (of `time.monotonic`) came first.

    The folder belongs to these texts and this encoder: its name is made of their fingerprints. A
    block that contradicts the checksum in its name is a `ScoresError`.
    """
    with locked(folder):
        starts = range(0, len(texts), block)
        there = {int(path.name[:6]): path for path in sorted(folder.glob("[0-9]*-*.np[yz]"))}
        left = [number for number in range(len(starts)) if number not in there]
        total = sum(len(texts[starts[n] : starts[n] + block]) for n in left)
        done: Bar[None] = bar(total=total, unit="texts", desc=desc, quiet=quiet or None)
        with done:
            for number in left:
                if deadline is not None and time.monotonic() >= deadline:
                    return None
                part = texts[starts[number] : starts[number] + block]
                started = time.perf_counter()
                there[number] = _write(folder, number, embed(part))
                _add_to_pace(folder, len(part), time.perf_counter() - started)
                done.update(len(part))
        return _open([there[number] for number in range(len(starts))], len(texts), block)


def pace(folder: Path) -> float | None:
    """Texts a second that embedding what is in `folder` took; None where nothing is."""
    try:
        texts, seconds = map(float, (folder / _PACE).read_text().split())
    except (OSError, ValueError):
        return None
    return texts / seconds if seconds > 0 else None


def _add_to_pace(folder: Path, texts: int, seconds: float) -> None:
    so_far = (folder / _PACE).read_text().split() if (folder / _PACE).is_file() else ["0", "0"]
    with atomic_write(folder / _PACE) as file:
        file.write(f"{int(so_far[0]) + texts} {float(so_far[1]) + seconds:.6f}\n".encode())


def _write(folder: Path, number: int, vectors: Vectors) -> Path:
    buffer = io.BytesIO()
    if isinstance(vectors, np.ndarray):
        if not np.isfinite(vectors).all() or np.abs(vectors).max(initial=0.0) > 60_000:
            raise ScoresError(
                f"{folder.name}: a text of block {number} has an infinite, undefined or too large "
                "vector; use precision = float32, or another encoder"
            )
        np.save(buffer, vectors.astype(np.float16), allow_pickle=False)
        suffix = ".npy"
    else:
        rows = vectors.tocsr().astype(np.float32)
        shape = np.asarray(rows.shape, np.int64)
        np.savez(buffer, data=rows.data, indices=rows.indices, indptr=rows.indptr, shape=shape)
        suffix = ".npz"
    raw = buffer.getvalue()
    path = folder / f"{number:06}-{google_crc32c.value(raw):08x}{suffix}"
    with atomic_write(path) as out:
        out.write(raw)
    return path


def _open(blocks: Sequence[Path], n_texts: int, size: int) -> VectorStore:
    dense: list[npt.NDArray[np.float16]] = []
    rows: list[SparseMatrix] = []
    for number, path in enumerate(blocks):
        raw = np.memmap(path, np.uint8, "r")
        if f"{google_crc32c.value(raw.tobytes()):08x}" != path.stem.partition("-")[2]:
            raise ScoresError(
                f"{path}: its content contradicts the checksum in its name; remove this file, only "
                "its texts are embedded again"
            )
        if path.suffix == ".npy":
            dense.append(np.load(path, mmap_mode="r", allow_pickle=False))
            n_rows = len(dense[-1])
        else:
            with np.load(path, allow_pickle=False) as held:
                parts = (held["data"], held["indices"], held["indptr"])
                rows.append(sparse.csr_array(parts, shape=tuple(held["shape"])))
            n_rows = int(rows[-1].shape[0])
        if n_rows != min(size, n_texts - number * size):
            raise ScoresError(
                f"{path} holds {n_rows} texts, wanted {min(size, n_texts - number * size)}: it was "
                f"written in blocks of another size; remove {path.parent}"
            )
    return VectorStore(tuple(dense), stacked(rows) if rows else None, size)


def stacked(blocks: Sequence[SparseMatrix]) -> SparseMatrix:
    """The rows of all blocks, one after the other."""
    rows: SparseMatrix = sparse.vstack(blocks, format="csr") if len(blocks) > 1 else blocks[0]
    return rows
