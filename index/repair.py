"""An index with damaged segments made whole again from what catalog and segments still tell.

A segment is damaged when a byte of it is not as it was written, or its file is gone. Where its
stored vectors are intact its documents are quantised anew from them; otherwise they are encoded
anew from their stored texts. Documents that have neither are lost: they are named, and leave only
with the caller's consent. Everything else stays as it is, and all of it is one commit.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import orjson
from scipy import sparse

from lsr.encoders.protocol import SparseEncoder
from lsr.errors import IndexCorrupt, IndexFailure, UsageError
from lsr.types import Document, SparseMatrix, canonical

from .catalog import Catalog, new_commit
from .changes import abandon_build
from .database import select
from .fallback import drop_undo, kept_files, undos
from .history import horizon, note_horizon
from .maintenance import (
    collect,
    forget_versions,
    maintainer,
    new_segment_path,
    settle,
)
from .merging import note_of, record_segment
from .proving import proven
from .retriever import check_same_space
from .rows import rounded_to_float16
from .segment import Segment, write_segment
from .shards import ShardSet, check_member, holds_shard
from .snapshot import columns_of, meaningful_groups
from .store import Index

log = logging.getLogger(__name__)

SEGMENT_ROWS = 50_000
"""Rows of a new segment: bounds the memory; the next merge puts them together."""
BATCH = 256

Progress = Callable[[int, int], None]
"""Called with (documents done, documents in all)."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A segment that cannot be trusted, and why."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was damaged and what became of its rows (passages, or documents that were not split)."""

    damaged: tuple[Damage, ...]
    n_from_vectors: int
    n_from_texts: int
    lost: tuple[str, ...]
    """Ids of documents that had neither vectors nor texts left."""


@dataclass(frozen=True, slots=True)
class _Row:
    docid: int
    doc_id: str
    group: int
    start: int | None
    end: int | None
    fields: bytes


def damage_of(path: Path) -> list[Damage]:
    """The damaged segments of an index; reads every byte of all of them."""
    catalog = Catalog.open(path / "catalog.sqlite", read_only=True)
    try:
        files = [
            str(file) for (file,) in catalog.rows("SELECT file FROM segments WHERE retired IS NULL")
        ]
    finally:
        catalog.close()
    found = []
    for file in files:
        try:
            with Segment.open(path / "segments" / file) as segment:
                segment.verify()
        except FileNotFoundError:
            found.append(Damage(file, f"{path / 'segments' / file}: the file is gone"))
        except IndexCorrupt as error:
            found.append(Damage(file, error.what))  # its remedy is the repair at hand
    return found


def repair(
    path: Path,
    encoder: SparseEncoder | None = None,
    *,
    accept_loss: bool = False,
    progress: Progress = lambda done, total: None,
) -> Repaired:
    """Replace every damaged segment of the index at `path`.

    `encoder` is needed where stored vectors are damaged too. Raises `IndexCorrupt` for a damaged
    catalog, and `IndexFailure`, having changed nothing, where documents would be lost without
    `accept_loss` or no encoder is there to encode them.
    """
    path = Path(path).resolve()
    with maintainer(path):
        catalog = Catalog.open(path / "catalog.sqlite")
        try:
            try:
                settle(path, catalog)  # what can be undone needs no repair
            except IndexCorrupt:
                raise
            except IndexFailure:  # what is left is gathered from both sides
                log.warning("%s: a merge and what it was made of are damaged", path)
            damaged = damage_of(path)
            report = Repaired((), 0, 0, ())
            if damaged:
                if problems := catalog.integrity_problems():
                    raise IndexCorrupt(f"{path}: {problems[0]}. Restore a snapshot of the index.")
                report = _repaired(path, catalog, damaged, encoder, accept_loss, progress)
            _publish(path, catalog)
            return report
        finally:
            catalog.close()


def _publish(path: Path, catalog: Catalog) -> None:
    """Where `path` is a shard of a set: let `shards.json` name the commit of its repairs.

    A set refuses a shard that anything else has written to, and goes on doing so. Done for a sound
    shard as well: a repair may have been killed before it came to this.
    """
    if not holds_shard(path):
        return
    members = ShardSet.read(path.parent)
    shards = {shard.name: shard for shard in members.shards}
    if path.name not in shards:
        return
    published = shards[path.name]
    check_member(path, set_name=members.name, number=members.shards.index(published))
    sql = "SELECT number, kind FROM commits WHERE number > ? ORDER BY number"
    later = catalog.rows(sql, (published.generation,))
    if later and all(kind == "repair" for _, kind in later):
        n_docs = Index(path, catalog).n_docs
        shards[path.name] = replace(published, generation=later[-1][0], n_docs=n_docs)
        replace(members, shards=tuple(shards.values())).write(path.parent)


def _repaired(
    path: Path,
    catalog: Catalog,
    damaged: Sequence[Damage],
    encoder: SparseEncoder | None,
    accept_loss: bool,
    progress: Progress,
) -> Repaired:
    index = Index(path, catalog)  # not opened: that would read the damaged segments
    if encoder is not None:
        check_same_space(index, encoder)
    _abandon_builds(catalog, damaged)
    rows, dead = _orphaned(path, catalog, {one.file for one in damaged})
    with catalog.reading() as connection:
        ways_back = undos(connection)
        before_merges = kept_files(connection)
    files = [*(one.file for one in damaged), *sorted(before_merges)]
    vectors, left = _salvaged(path, files, rows, index.n_terms)
    n_from_vectors = len(rows) - len(left)
    encoded, lost = _encoded(index, left, encoder, progress)
    if lost and not accept_loss:
        names = ", ".join(repr(one.doc_id) for one in lost[:5])
        raise IndexFailure(
            f"{path}: {len(lost)} documents have neither vectors nor texts left ({names}"
            f"{', ...' if len(lost) > 5 else ''}); nothing was changed. Restore a snapshot, or "
            "accept the loss."
        )
    vectors |= encoded
    kept = [row for row in rows if row.docid in vectors]
    written = [
        _written(path, index, kept[at : at + SEGMENT_ROWS], vectors)
        for at in range(0, len(kept), SEGMENT_ROWS)
    ]
    with catalog.transaction() as connection:
        before = horizon(connection)
        number = new_commit(connection, "repair")
        connection.executemany(
            "UPDATE segments SET retired=? WHERE file=?", [(number, one.file) for one in damaged]
        )
        for place, stats in written:
            note = note_of(stats, index.settings)
            record_segment(connection, place, stats, added=number, note=note)
        gone = [*dead, *(row.docid for row in lost)]
        # Whatever they lead to: what was sound there is in the new segments or in merged ones that
        # read as they should, and what merges left out is forgotten with the rest.
        for undo in ways_back:
            gone += undo.gone
            drop_undo(connection, undo.number)
        # Versions that an earlier commit saw were in the damaged segment: it is out of reach now.
        note_horizon(connection, number, before=max(before, number), left_out=gone)
        forget_versions(connection, [(docid,) for docid in gone])
    collect(path, catalog)
    return Repaired(
        tuple(damaged),
        n_from_vectors,
        len(encoded),
        tuple(sorted({row.doc_id for row in lost})),
    )


def _abandon_builds(catalog: Catalog, damaged: Sequence[Damage]) -> None:
    """A build under way whose part is damaged is begun anew; nobody has seen it."""
    with catalog.transaction() as connection:
        for one in damaged:
            found = select(connection, "SELECT added FROM segments WHERE file=?", (one.file,))
            if found and found[0][0] < 0:
                build = -int(found[0][0])
                alive = "SELECT 1 FROM builds WHERE build=? AND published IS NULL"
                if select(connection, alive, (build,)):
                    abandon_build(connection, build)


def _orphaned(path: Path, catalog: Catalog, damaged: set[str]) -> tuple[list[_Row], list[int]]:
    """Live rows that no sound segment and no pending row holds, and the docids of dead ones."""
    held: list[npt.NDArray[np.uint32]] = []
    for (file,) in catalog.rows("SELECT file FROM segments WHERE retired IS NULL"):
        if file not in damaged:
            with Segment.open(path / "segments" / str(file)) as segment:
                held.append(np.array(segment.docids))
    pending = [docid for (docid,) in catalog.rows("SELECT docid FROM pending")]
    known = np.unique(np.concatenate([np.asarray(pending, np.uint32), *held]))
    documents = catalog.rows(
        "SELECT docid, deleted IS NULL OR deleted IN "
        "(SELECT -build FROM builds WHERE published IS NULL) FROM documents ORDER BY docid"
    )
    docids = np.asarray([docid for docid, _ in documents], np.uint32)
    missing = ~np.isin(docids, known)
    live = [int(d) for (d, alive), gone in zip(documents, missing, strict=True) if gone and alive]
    dead = [
        int(d) for (d, alive), gone in zip(documents, missing, strict=True) if gone and not alive
    ]
    rows = catalog.rows(
        "SELECT d.docid, d.doc_id, d.group_docid, d.span_start, d.span_end, t.fields "
        "FROM documents d JOIN texts t ON t.docid=d.group_docid "
        "WHERE d.docid IN (SELECT value FROM json_each(?)) ORDER BY d.docid",
        (orjson.dumps(live).decode(),),
    )
    return [_Row(*row) for row in rows], dead


def _salvaged(
    path: Path, files: Sequence[str], rows: Sequence[_Row], n_terms: int
) -> tuple[dict[int, Any], list[_Row]]:
    """Vectors by docid of segments whose vectors are not damaged, and the rows without one."""
    vectors: dict[int, Any] = {}
    wanted = {row.docid for row in rows}
    for file in files:
        try:
            with Segment.open(path / "segments" / file) as segment:
                if segment.n_terms != n_terms or not intact_vectors(segment):
                    continue
                docids = segment.docids.tolist()
                stored = segment.vectors()
                for at, docid in enumerate(docids):
                    if docid in wanted:
                        a, b = int(stored.indptr[at]), int(stored.indptr[at + 1])
                        vectors[docid] = (stored.indices[a:b].copy(), stored.data[a:b].copy())
        except (IndexFailure, FileNotFoundError):
            continue  # its header or its vectors: the texts remain
    return vectors, [row for row in rows if row.docid not in vectors]


def intact_vectors(segment: Segment) -> bool:
    """Whether the stored vectors, and which document each belongs to, are as they were written."""
    needed = {"external", "forward_start", "forward_term", "forward_weight"}
    sections = segment.raw_sections()
    return needed <= sections.keys() and all(
        google_crc32c.value(sections[name][0].tobytes()) == sections[name][1] for name in needed
    )


def _encoded(
    index: Index, rows: Sequence[_Row], encoder: SparseEncoder | None, progress: Progress
) -> tuple[dict[int, Any], list[_Row]]:
    """Vectors by docid of rows with a text, and the rows without one."""
    if not rows:
        return {}, []
    fields = ("title", "text") if index.encoder is None else index.encoder.text_fields
    texts: list[str] = []
    of_text: list[_Row] = []
    lost: list[_Row] = []
    for row in rows:
        whole = Document(row.doc_id, orjson.loads(row.fields)).text(fields)
        piece = whole if row.start is None or row.end is None else whole[row.start : row.end]
        if piece and index.encoder is not None:
            texts.append(piece)
            of_text.append(row)
        else:
            lost.append(row)
    if texts and encoder is None:
        raise UsageError(
            f"{index.path}: {len(texts)} documents have to be encoded anew; name the encoder that "
            "built the index with --encoder FOLDER"
        )
    vectors: dict[int, Any] = {}
    for at in range(0, len(texts), BATCH):
        assert encoder is not None
        some = canonical(encoder.encode_documents(texts[at : at + BATCH]), n_terms=index.n_terms)
        stored = index.settings.of_documents(rounded_to_float16(some))
        for row, a, b in zip(
            of_text[at : at + BATCH], stored.indptr[:-1], stored.indptr[1:], strict=True
        ):
            vectors[row.docid] = (stored.indices[a:b], stored.data[a:b])
        progress(min(at + BATCH, len(texts)), len(texts))
    return vectors, lost


def _written(
    path: Path, index: Index, rows: Sequence[_Row], vectors: dict[int, Any]
) -> tuple[Path, Any]:
    parts = [vectors[row.docid] for row in rows]
    starts = np.concatenate([[0], np.cumsum([len(terms) for terms, _ in parts])])
    matrix: SparseMatrix = sparse.csr_array(
        (
            np.concatenate([weights for _, weights in parts]).astype(np.float32),
            np.concatenate([terms for terms, _ in parts]).astype(np.int64),
            starts.astype(np.int64),
        ),
        shape=(len(rows), index.n_terms),
    )
    docids = np.asarray([row.docid for row in rows], np.uint32)
    place = new_segment_path(path)
    stats = write_segment(
        place,
        matrix,
        docids,
        [row.doc_id for row in rows],
        scale=index.scale,
        groups=meaningful_groups(docids, np.asarray([row.group for row in rows], np.uint32)),
        columns=columns_of([row.fields for row in rows], index.fields),
        reorder=index.settings.reorder,
    )
    return proven(place), stats
