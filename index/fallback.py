"""Merges that can still be undone, and the way back to the layout before one.

A merge retires its sources and keeps them, with the rows of the documents that it left out, until
the new segment was read back once more after it was published (`settle`). If that finds damage, or
opening does, the index goes back to the sources: loudly, and without losing a document, since what
was added since lies in pending rows and in segments of its own.
"""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import apsw
import numpy as np
import numpy.typing as npt
import orjson

from lsr.errors import IndexCorrupt, IndexFailure

from .catalog import Catalog, new_commit
from .database import select
from .notes import put_setting, setting
from .proving import read_back

_PREFIX = "undo/"
_FALLBACKS = "fallbacks"
MAX_FALLBACKS = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Undo:
    """How to take back the merge of commit `number`: `made` is the file it published, None for
    none; `sources` the numbers of the segments it retired, `gone` the docids it left out.
    """

    number: int
    made: str | None
    sources: tuple[int, ...]
    gone: tuple[int, ...]


def note_undo(connection: apsw.Connection, undo: Undo) -> None:
    """Store it, inside the transaction of the merge."""
    told = {"made": undo.made, "sources": undo.sources, "gone": undo.gone}
    put_setting(connection, f"{_PREFIX}{undo.number}", told)


def undos(connection: apsw.Connection) -> list[Undo]:
    """The merges that can be undone, the oldest first."""
    rows = select(connection, "SELECT key, value FROM meta WHERE key LIKE 'undo/%'")
    found = [(int(str(key).removeprefix(_PREFIX)), orjson.loads(value)) for key, value in rows]
    return [
        Undo(number, told["made"], tuple(told["sources"]), tuple(told["gone"]))
        for number, told in sorted(found, key=lambda one: one[0])
    ]


def kept_files(connection: apsw.Connection) -> set[str]:
    """Retired files that a way back leads to."""
    numbers = [number for undo in undos(connection) for number in undo.sources]
    rows = select(
        connection,
        "SELECT file FROM segments WHERE segment IN (SELECT value FROM json_each(?))",
        (orjson.dumps(numbers).decode(),),
    )
    return {str(file) for (file,) in rows}


def left_out(connection: apsw.Connection) -> npt.NDArray[np.uint32]:
    """Docids whose rows are kept although no segment that is live holds them, ascending."""
    return np.unique(np.asarray([d for undo in undos(connection) for d in undo.gone], np.uint32))


def drop_undo(connection: apsw.Connection, number: int) -> None:
    """There is no way back from here on, inside a transaction."""
    connection.execute("DELETE FROM meta WHERE key=?", (f"{_PREFIX}{number}",))


def fallbacks(catalog: Catalog) -> list[dict[str, Any]]:
    """Every time that this index went back, the newest last: {"at", "commit", "undone", "file",
    "why"}.
    """
    return list(catalog.meta(_FALLBACKS) or [])


def undo_merge(catalog: Catalog, undo: Undo, why: str) -> int:
    """Go back to the segments that a merge retired; the new commit. Call as maintainer.

    Raises `IndexFailure`, having changed nothing, when one of them is damaged too.
    """
    folder = catalog.path.parent / "segments"
    listed = orjson.dumps(list(undo.sources)).decode()
    sources = catalog.rows(
        "SELECT file FROM segments WHERE segment IN (SELECT value FROM json_each(?))", (listed,)
    )
    if len(sources) != len(undo.sources):
        raise IndexFailure(f"{catalog.path.parent}: what commit {undo.number} merged is gone")
    for (file,) in sources:
        try:
            read_back(folder / str(file))
        except (IndexCorrupt, FileNotFoundError) as error:
            raise IndexFailure(
                f"{catalog.path.parent}: what commit {undo.number} merged is damaged too "
                f"({error}); run `lsr repair`"
            ) from error
    with catalog.transaction() as connection:
        number = new_commit(connection, "rollback")
        connection.execute(
            "UPDATE segments SET retired=NULL WHERE segment IN (SELECT value FROM json_each(?))",
            (listed,),
        )
        if undo.made is not None:
            connection.execute("UPDATE segments SET retired=? WHERE file=?", (number, undo.made))
        drop_undo(connection, undo.number)
        told = list(setting(connection, _FALLBACKS) or [])
        told.append(
            {
                "at": time.time(),
                "commit": number,
                "undone": undo.number,
                "file": undo.made,
                "why": why,
            }
        )
        put_setting(connection, _FALLBACKS, told[-MAX_FALLBACKS:])
        horizon = setting(connection, "horizon")
        if horizon:  # what that merge put out of reach stays so
            put_setting(connection, "horizon", {**horizon, "layout": number})
    log.error(
        "%s: went back from the merge of commit %d to the segments before it, as commit %d: %s",
        catalog.path.parent,
        undo.number,
        number,
        why,
    )
    return number


def fall_back(catalog: Catalog, *, verified: Collection[str] = ()) -> tuple[list[Undo], int]:
    """Read back what merges made, the newest first, and undo those that do not read as they should.

    `verified` files are known to be sound. Returns the merges that stand, and how many do not.
    Call as maintainer.
    """
    with catalog.reading() as connection:
        open_ends = undos(connection)
    standing = []
    n_undone = 0
    for undo in reversed(open_ends):
        if undo.made is not None and undo.made not in verified:
            try:
                read_back(catalog.path.parent / "segments" / undo.made)
            except (IndexCorrupt, FileNotFoundError) as error:
                undo_merge(catalog, undo, str(error))
                n_undone += 1
                continue
        standing.append(undo)
    return standing, n_undone
