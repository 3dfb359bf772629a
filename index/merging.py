"""Several segments of an index become one: in which order, pruned by which cuts, noted how."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw
import numpy as np

from .catalog import Catalog
from .cuts import Cuts
from .effort import Effort
from .layout import REORDER_MINIMUM
from .live import positions_in
from .notes import Note, notes_of, put_note, put_setting, setting
from .segment_writer import SegmentStats
from .settings import Settings
from .snapshot import View

APPEND_SHARE = 4
"""A merge that appends more than one part in so many puts all documents in order anew."""


def record_segment(
    connection: apsw.Connection, path: Path, stats: SegmentStats, *, added: int, note: Note
) -> None:
    """Name a written segment in the catalog; call inside the transaction that makes it live."""
    put_note(connection, path.name, note)
    connection.execute(
        "INSERT INTO segments(file, added, retired, n_docs, n_postings, n_saturated, n_bytes) "
        "VALUES(?, ?, NULL, ?, ?, ?, ?)",
        (path.name, added, stats.n_docs, stats.n_postings, stats.n_saturated, stats.n_bytes),
    )


def note_of(stats: SegmentStats, settings: Settings) -> Note:
    """Of a segment made of documents that were stored as they came."""
    in_order = settings.order == "bp" and stats.n_docs >= REORDER_MINIMUM
    rounding = stats.rounding
    return Note(
        n_ordered=stats.n_docs if in_order else 0,
        given_postings=stats.n_postings,
        given_mass=rounding.mass,
        rounding=rounding,
    )


@dataclass(frozen=True, slots=True)
class Written:
    """A merged segment that no catalog names yet; `cuts` are those it was pruned by, found for
    lists of `prune_postings`.
    """

    stats: SegmentStats
    note: Note
    cuts: Cuts | None
    prune_postings: float | None

    def record(self, connection: apsw.Connection, path: Path, *, added: int) -> None:
        """Name it, inside the transaction that makes it live; its cuts stay for later merges."""
        record_segment(connection, path, self.stats, added=added, note=self.note)
        if self.cuts is not None:
            cuts = {"postings": self.prune_postings, "file": path.name, **self.cuts.to_json()}
            put_setting(connection, "cuts", cuts)


def cut_segment(connection: apsw.Connection, prune_postings: float | None) -> str | None:
    """The file of the newest segment whose lists were pruned so; None where there is none."""
    stored = setting(connection, "cuts")
    if stored is None or prune_postings is None or stored["postings"] != prune_postings:
        return None
    file = stored.get("file")  # that of an older release is not known
    return None if file is None else str(file)


def write_merged(
    path: Path,
    catalog: Catalog,
    views: Sequence[View],
    *,
    scale: float,
    memory: int,
    settings: Settings,
    prune: bool,
    effort: Effort | None = None,
) -> Written | None:
    """Write the live documents of `views` as one segment; None when there are none.

    Documents are put in order anew when more than a quarter of them are not in the order of the
    largest source: then searches lose more to the rest than the ordering costs. Otherwise that
    source keeps its order and the others are appended, in order among themselves. With `prune`,
    lists are pruned as the settings say.
    """
    # Imported here: numba takes longer to import than a small index takes to open and search.
    from .external import merge_segments

    with catalog.reading() as connection:
        notes = notes_of(connection)
        stored = setting(connection, "cuts")
    of_view = [notes.get(view.segment.path.name if view.segment.path else "") for view in views]
    largest, kept_in_order = _ordered_front(views, of_view)
    n_docs = sum(view.n_live for view in views)
    appends = (
        settings.order == "bp"
        and n_docs >= REORDER_MINIMUM
        and APPEND_SHARE * (n_docs - kept_in_order) <= n_docs
    )
    prune_postings = settings.pruning.postings if prune else None
    known = stored is not None and stored["postings"] == prune_postings
    merged = merge_segments(
        path,
        views,
        scale=scale,
        memory=memory,
        reorder=False if appends else settings.reorder,
        first=largest if appends else None,
        cuts=Cuts.from_json(stored) if known else None,
        prune_postings=prune_postings,
        effort=effort,
    )
    if merged is None:
        return None
    given = [
        (note or Note(given_postings=view.segment.n_postings)).given(
            view.n_live / max(1, view.segment.n_docs)
        )
        for view, note in zip(views, of_view, strict=True)
    ]
    note = Note(
        n_ordered=kept_in_order if appends else merged.n_ordered,
        given_postings=sum(postings for postings, _ in given),
        given_mass=sum(mass for _, mass in given),
        rounding=merged.stats.rounding,
    )
    return Written(merged.stats, note, merged.cuts, prune_postings)


def _ordered_front(views: Sequence[View], notes: Sequence[Note | None]) -> tuple[View | None, int]:
    """The source with the most documents in order, and how many of them live."""
    best: tuple[View | None, int] = (None, 0)
    for view, note in zip(views, notes, strict=True):
        n_ordered = 0 if note is None else note.n_ordered
        live = positions_in(view.live, view.segment.n_docs)
        n = int(np.searchsorted(live, n_ordered))
        if n > best[1]:
            best = (view, n)
    return best
