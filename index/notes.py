"""What a build knew of each segment that its file does not tell; rows of the catalog's `meta`.

How many documents lie in order, what the vectors held before pruning, what rounding cost. A segment
of an older release has no note: nothing but its place in merges depends on one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import apsw
import orjson

from .database import select
from .rounding import Rounding

_PREFIX = "segment/"


@dataclass(frozen=True, slots=True)
class Note:
    """Of one segment. The first `n_ordered` documents were put in order together; `is_run` says
    that it waits to be merged; `given_postings` and `given_mass` (sum of weights) are those of its
    documents before anything was pruned.
    """

    n_ordered: int = 0
    is_run: bool = False
    given_postings: int = 0
    given_mass: float = 0.0
    rounding: Rounding = field(default_factory=Rounding)

    def given(self, share: float) -> tuple[int, float]:
        """What a share of the documents was given, supposing they are like the others."""
        return round(self.given_postings * share), self.given_mass * share


def put_note(connection: apsw.Connection, file: str, note: Note) -> None:
    """Store the note of a segment file, inside the transaction that names it."""
    connection.execute(
        "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)",
        (_PREFIX + file, orjson.dumps(asdict(note))),
    )


def drop_notes(connection: apsw.Connection, files: Iterable[str]) -> None:
    """Forget the notes of segments that are gone."""
    connection.executemany("DELETE FROM meta WHERE key=?", [(_PREFIX + file,) for file in files])


def notes_of(connection: apsw.Connection) -> dict[str, Note]:
    """Every note by file name."""
    rows = select(connection, "SELECT key, value FROM meta WHERE key LIKE 'segment/%'")
    return {str(key).removeprefix(_PREFIX): _note(orjson.loads(value)) for key, value in rows}


def _note(stored: Mapping[str, Any]) -> Note:
    return Note(**{**stored, "rounding": Rounding(**stored["rounding"])})


def put_setting(connection: apsw.Connection, key: str, value: object) -> None:
    """Store a setting of the index, inside the caller's transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)", (key, orjson.dumps(value))
    )


def setting(connection: apsw.Connection, key: str) -> Any:
    """One setting, None when absent; for use inside a transaction."""
    found = select(connection, "SELECT value FROM meta WHERE key=?", (key,))
    return orjson.loads(found[0][0]) if found else None


def facts(notes: Iterable[Note], *, n_postings: int) -> dict[str, Any]:
    """What `info` tells of pruning and rounding over segments of `n_postings` in all; a segment
    without a note adds nothing to the errors and counts as given what it holds.
    """
    listed = list(notes)
    rounding = Rounding.together(note.rounding for note in listed)
    given = sum(note.given_postings for note in listed) + n_postings - rounding.n_postings
    given_mass = sum(note.given_mass for note in listed)
    return {
        "n_ordered": sum(note.n_ordered for note in listed),
        "given_postings": given,
        "mass_kept": min(1.0, rounding.mass / given_mass) if given_mass else 1.0,
        "error_mean": rounding.error_mean,
        "error_max": rounding.error_max,
        "norm_error": rounding.norm_error,
    }
