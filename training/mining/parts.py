"""What mining has made so far, on disk: a stop or a kill costs the part at work, and no more.

Vectors are kept by `lsr.vectors`, in float16 where they are dense; what a miner found and a teacher
said is kept for so many queries at a time. All of it goes when the work is done.
"""

import io
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lsr.files import atomic_write
from lsr.vectors import Embed, Vectors, update_vectors

from ..rows import Rows

Found: TypeAlias = tuple[Rows, npt.NDArray[np.float32]]
"""Of one query: documents, and their scores."""


class OutOfTimeError(Exception):
    """The deadline came; what is done is on disk."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Where parts lie, and when to stop between two of them.

    The folder belongs to the same queries over the same documents; names say the rest.
    """

    folder: Path | None = None
    """None keeps nothing."""
    deadline: float | None = None
    """A time of `time.monotonic`."""

    def found(self, name: str, find: Callable[[], list[Found]]) -> list[Found]:
        """The part of this name, or what `find` makes; `OutOfTimeError` before it is asked."""
        path = None if self.folder is None else self.folder / f"{name}.npz"
        kept = None if path is None else _read(path)
        if kept is not None:
            return kept
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise OutOfTimeError
        made = find()
        if path is not None:
            with atomic_write(path) as out:
                out.write(_bytes(made))
        return made

    def vectors(
        self, name: str, texts: Sequence[str], embed: Embed, *, desc: str, quiet: bool
    ) -> Vectors | None:
        """The vectors of all texts, each embedded once; None where nothing is kept."""
        if self.folder is None:
            return None
        store = update_vectors(
            self.folder / "vectors" / name,
            texts,
            embed,
            desc=desc,
            deadline=self.deadline,
            quiet=quiet,
        )
        if store is None:
            raise OutOfTimeError
        return store.rows(np.arange(len(texts)))


KEEP_NOTHING = Parts()


def _bytes(found: Sequence[Found]) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        lengths=np.asarray([len(rows) for rows, _ in found], np.int64),
        rows=np.concatenate([np.empty(0, np.int32), *(rows for rows, _ in found)]),
        scores=np.concatenate([np.empty(0, np.float32), *(scores for _, scores in found)]),
    )
    return buffer.getvalue()


def _read(path: Path) -> list[Found] | None:
    """A part; None if it is missing, or contradicts the checksums of zip, and is made again."""
    try:
        with np.load(path, allow_pickle=False) as held:
            lengths, rows, scores = held["lengths"], held["rows"], held["scores"]
    except (FileNotFoundError, zipfile.BadZipFile, EOFError, KeyError, ValueError):
        return None
    ends = np.cumsum(lengths)[:-1]
    return list(zip(np.split(rows, ends), np.split(scores, ends), strict=True))
