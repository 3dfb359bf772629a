"""Vectors of an encoder on disk: each text is encoded once, and a kill costs one block of them.

Blocks of rows, `000007-<crc32c>.npy` (dense, float16, memory-mapped) or `.npz` (sparse rows,
float32, read into memory). A block is durable before the next is begun; a kill costs one. float16
moves a cosine by at most some 0.0005. `update_vectors` is for one list of texts; `kept_vectors`
finds a text whatever list it was embedded with.
"""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
_KEYS = "keys.bin"
"""Of a list that `kept_vectors` embedded: the key of each of its texts, 8 bytes, little-endian. The
folder's name ends in their checksum, for another key would give a vector to another text."""

Embed = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True)
class VectorStore:
    """All rows of one side of one encoder, in the order of the texts."""

    dense: tuple[npt.NDArray[np.float16], ...] = ()
    """Memory maps, end to end."""
    sparse_rows: SparseMatrix | None = None
    places: npt.NDArray[np.int64] | None = None
    """Of each text, its row above; None where they are in the same order."""

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return np.cumsum([len(block) for block in self.dense], dtype=np.int64)

    def rows(self, which: npt.NDArray[np.integer]) -> Vectors:
        """The vectors of these texts, float32, in the order asked for."""
        at = which if self.places is None else self.places[which]
        if self.sparse_rows is not None:
            chosen: SparseMatrix = self.sparse_rows[at]
            return chosen
        width = self.dense[0].shape[1] if self.dense else 0
        found = np.empty((len(at), width), np.float32)
        home = np.searchsorted(self._ends, at, side="right")
        for number in np.unique(home):
            block = self.dense[number]
            mine = np.flatnonzero(home == number)
            found[mine] = block[at[mine] - (self._ends[number] - len(block))]
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
        there = _blocks(folder)
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


def kept_vectors(
    folder: Path,
    keys: npt.NDArray[np.uint64],
    texts: Sequence[str],
    embed: Embed,
    *,
    desc: str,
    deadline: float | None = None,
    quiet: bool = False,
) -> VectorStore | None:
    """The vectors of these texts; only those that no earlier call embedded are embedded now.

    `folder` belongs to one side of one encoder, and `keys`, (len(texts),) uint64, tell texts apart
    for good. A call that finds texts without vectors adds a folder of its own with their keys and
    blocks, so a kill costs one block. What a text is batched with may move the last bit of a
    vector. None if `deadline` (of `time.monotonic`) came first. Raises `ScoresError` for a block
    or keys that contradict their checksum.
    """
    with locked(folder):
        known, _ = _kept(folder)
        _, first = np.unique(keys, return_index=True)
        new = np.sort(first[~np.isin(keys[first], known)])
        if len(new):
            raw = keys[new].astype("<u8").tobytes()
            number = len(list(folder.glob("*/")))
            added = folder / f"{number:04}-{google_crc32c.value(raw):08x}"
            with atomic_write(added / _KEYS) as out:
                out.write(raw)
            lacking = [texts[row] for row in new]
            if (
                update_vectors(added, lacking, embed, desc=desc, deadline=deadline, quiet=quiet)
                is None
            ):
                return None
        return _gathered(folder, keys)


def _blocks(folder: Path) -> dict[int, Path]:
    return {int(path.name[:6]): path for path in sorted(folder.glob("[0-9]*-*.np[yz]"))}


def _keys_of(path: Path) -> npt.NDArray[np.uint64]:
    raw = path.read_bytes()
    if f"{google_crc32c.value(raw):08x}" != path.parent.name.partition("-")[2]:
        raise ScoresError(
            f"{path}: its content contradicts the checksum in the name of its folder; remove "
            f"{path.parent}, only its texts are embedded again"
        )
    return np.frombuffer(raw, "<u8").astype(np.uint64)


def _kept(folder: Path) -> tuple[npt.NDArray[np.uint64], list[tuple[Path, int]]]:
    """The keys of all rows in the blocks of all lists, and each block with its number of rows."""
    keys, blocks = [np.empty(0, np.uint64)], []
    for path in sorted(folder.glob(f"*/{_KEYS}")):
        of_list = _keys_of(path)
        for number, block in sorted(_blocks(path.parent).items()):
            keys.append(of_list[number * BLOCK : (number + 1) * BLOCK])
            blocks.append((block, len(keys[-1])))
    return np.concatenate(keys), blocks


def _gathered(folder: Path, keys: npt.NDArray[np.uint64]) -> VectorStore:
    """A store of the blocks that hold these keys, all of which some block holds."""
    known, blocks = _kept(folder)
    distinct, first = np.unique(known, return_index=True)
    rows = first[np.searchsorted(distinct, keys)]
    ends = np.cumsum([length for _, length in blocks], dtype=np.int64)
    home = np.searchsorted(ends, rows, side="right")
    needed, nth = np.unique(home, return_inverse=True)
    opened = [_open([blocks[n][0]], blocks[n][1], BLOCK) for n in needed]
    lengths = np.asarray([blocks[n][1] for n in needed], np.int64)
    places = rows - (ends[needed] - np.cumsum(lengths))[nth]
    held = [store.sparse_rows for store in opened if store.sparse_rows is not None]
    return VectorStore(
        tuple(block for store in opened for block in store.dense),
        stacked(held) if held else None,
        places,
    )


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
    return VectorStore(tuple(dense), stacked(rows) if rows else None)


def stacked(blocks: Sequence[SparseMatrix]) -> SparseMatrix:
    """The rows of all blocks, one after the other."""
    rows: SparseMatrix = sparse.vstack(blocks, format="csr") if len(blocks) > 1 else blocks[0]
    return rows
