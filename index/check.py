"""`lsr check`: read every byte of an index and say what contradicts what."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsr.errors import IndexFailure

from .catalog import Catalog
from .segment import Segment


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


def check_index(directory: Path, catalog: Catalog) -> CheckReport:
    """Verify SQLite's pages and indexes, every segment's checksums and invariants, and that each
    document row lies in exactly one place."""
    problems = catalog.integrity_problems()
    if problems:
        return CheckReport(0, 0, catalog.path.stat().st_size, tuple(problems))
    rows = np.asarray(
        [int(row[0]) for row in catalog.rows("SELECT docid FROM documents ORDER BY docid")],
        np.uint32,
    )
    pending = np.asarray(
        [int(row[0]) for row in catalog.rows("SELECT docid FROM pending ORDER BY docid")], np.uint32
    )
    places = [pending]
    n_bytes = catalog.path.stat().st_size
    n_segments = 0
    for file, n_docs in catalog.rows("SELECT file, n_docs FROM segments WHERE retired IS NULL"):
        path = directory / "segments" / str(file)
        n_segments += 1
        try:
            segment = Segment.open(path)
        except FileNotFoundError:
            problems.append(f"segments/{file}: missing, but the catalog names it")
            continue
        except IndexFailure as error:
            problems.append(str(error))
            continue
        try:
            segment.verify()
            if segment.n_docs != n_docs:
                problems.append(
                    f"segments/{file}: {segment.n_docs} documents, catalog says {n_docs}"
                )
            places.append(np.array(segment.docids))
            n_bytes += segment.n_bytes
        except IndexFailure as error:
            problems.append(str(error))
        finally:
            segment.close()
    if not problems:
        problems += _misplaced(rows, np.concatenate(places))
    without_text = catalog.rows(
        "SELECT count(*) FROM documents d LEFT JOIN texts t ON t.docid=d.group_docid "
        "WHERE t.docid IS NULL"
    )[0][0]
    if without_text:
        problems.append(f"{catalog.path.name}: {without_text} documents have no stored text")
    return CheckReport(len(rows), n_segments, n_bytes, tuple(problems))


def _misplaced(rows: "np.ndarray", stored: "np.ndarray") -> list[str]:
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
