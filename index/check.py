"""`lsr check`: read every byte of an index and say what contradicts what."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsr.errors import IndexCorrupt, IndexFailure

from .catalog import FILE_NAME, Catalog
from .database import select
from .fallback import left_out
from .snapshot import OpenSegment

STATEMENTS = (
    (
        "documents have no stored text",
        (
            "SELECT count(*) FROM documents d LEFT JOIN texts t ON t.docid=d.group_docid "
            "WHERE t.docid IS NULL"
        ),
    ),
    (
        "stored texts belong to no document",
        (
            "SELECT count(*) FROM texts t WHERE NOT EXISTS (SELECT 1 FROM documents d "
            "WHERE d.docid=t.docid) AND NOT EXISTS (SELECT 1 FROM documents d "
            "WHERE d.docid>t.docid AND d.group_docid=t.docid)"
        ),
    ),
    (
        "stored texts are no JSON",
        "SELECT count(*) FROM texts WHERE NOT json_valid(CAST(fields AS TEXT))",
    ),
    (
        "documents name a build that was never begun",
        (
            "SELECT count(*) FROM documents WHERE (added<0 AND -added NOT IN (SELECT build "
            "FROM builds)) "
            "OR (deleted<0 AND -deleted NOT IN (SELECT build FROM builds))"
        ),
    ),
    (
        "segments name a build that was never begun",
        "SELECT count(*) FROM segments WHERE added<0 AND -added NOT IN (SELECT build FROM builds)",
    ),
    (
        "pending rows disagree with their documents",
        (
            "SELECT count(*) FROM pending p LEFT JOIN documents d USING(docid) "
            "WHERE d.docid IS NULL OR d.added<>p.added OR length(p.terms)<>2*length(p.weights)"
        ),
    ),
    (
        "docids are beyond the counter that gives new ones",
        (
            "SELECT count(*) FROM documents WHERE docid>"
            "(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name='documents')"
        ),
    ),
)
"""What must count 0, and how it is counted."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was read and what is wrong with it; `problems` is empty for a sound index."""

    n_documents: int
    n_segments: int
    n_bytes: int
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Nothing contradicts anything."""
        return not self.problems


def check_index(directory: Path, *, n_terms: int, scale: float) -> CheckReport:
    """Verify SQLite's pages and indexes, every segment's checksums and invariants, and that catalog
    and segments tell the same of each document. Others may search and write meanwhile."""
    with closing(Catalog.open(directory / FILE_NAME, read_only=True)) as catalog:
        problems = catalog.integrity_problems()
        n_bytes = catalog.path.stat().st_size
        if problems:
            return CheckReport(0, 0, n_bytes, tuple(problems))
        opened: list[tuple[str, OpenSegment]] = []
        with catalog.reading() as connection:  # one commit for everything that is compared
            rows = select(connection, "SELECT docid, group_docid, doc_id FROM documents")
            kept = left_out(connection)
            pending = [docid for (docid,) in select(connection, "SELECT docid FROM pending")]
            files = select(
                connection,
                "SELECT file, n_docs, n_postings, n_bytes FROM segments WHERE retired IS NULL",
            )
            for what, sql in STATEMENTS:
                if number := select(connection, sql)[0][0]:
                    problems.append(f"{FILE_NAME}: {number} {what}")
            for file, *_ in files:
                try:
                    opened.append((file, OpenSegment(directory / "segments" / file)))
                except FileNotFoundError:
                    problems.append(f"segments/{file}: missing, but the catalog names it")
                except IndexFailure as error:
                    problems.append(str(error))
    documents = {docid: (group, doc_id) for docid, group, doc_id in rows}
    counts = {file: tuple(numbers) for file, *numbers in files}
    places = [np.asarray(pending, np.uint32)]
    for file, one in opened:
        segment = one.segment
        n_bytes += segment.n_bytes
        places.append(np.array(segment.docids))
        try:
            segment.verify()
            problems += [
                f"segments/{file}: {problem}"
                for problem in _disagreements(one, documents, counts[file], n_terms, scale)
            ]
        except IndexCorrupt as error:
            problems.append(str(error))
    if not problems:
        everywhere = np.setdiff1d(np.asarray(sorted(documents), np.uint32), kept)
        problems += _misplaced(everywhere, np.concatenate(places))
    return CheckReport(len(documents), len(files), n_bytes, tuple(problems))


def _disagreements(
    one: OpenSegment,
    documents: dict[int, tuple[int, str]],
    counted: tuple[int, ...],
    n_terms: int,
    scale: float,
) -> Iterator[str]:
    """Where a sound segment and the catalog tell different things."""
    segment = one.segment
    if (segment.n_docs, segment.n_postings, segment.n_bytes) != counted:
        yield (
            f"{segment.n_docs} documents, {segment.n_postings} postings, {segment.n_bytes} bytes; "
            f"the catalog says {counted}"
        )
    if (segment.n_terms, segment.scale) != (n_terms, scale):
        yield (
            f"{segment.n_terms} terms at scale {segment.scale}, the index has {n_terms} at {scale}"
        )
    groups = segment.docids if segment.groups is None else segment.groups
    for docid, group, doc_id in zip(
        segment.docids.tolist(), groups.tolist(), segment.doc_ids(), strict=True
    ):
        if docid in documents and documents[docid] != (group, doc_id):
            yield (
                f"docid {docid} is {doc_id!r} of group {group}, the catalog has {documents[docid]}"
            )
            return


def _misplaced(rows: npt.NDArray[np.uint32], stored: npt.NDArray[np.uint32]) -> list[str]:
    """Rows in no segment, postings of no row, and docids stored twice."""
    problems = []
    unique, counts = np.unique(stored, return_counts=True)
    for what, docids in (
        ("stored twice", unique[counts > 1]),
        ("in the catalog but in no segment", np.setdiff1d(rows, unique)),
        ("in a segment but not in the catalog", np.setdiff1d(unique, rows)),
    ):
        if len(docids):
            problems.append(f"{len(docids)} documents are {what}, the first is docid {docids[0]}")
    return problems
