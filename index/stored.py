"""What the catalog knows of documents: texts, passages, and which version of an id is live."""

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import orjson

from lsr.errors import IndexCorrupt, UsageError
from lsr.types import Document

from .catalog import Catalog
from .database import select
from .history import check_reachable
from .rows import check_doc_id


def stored_documents(catalog: Catalog, docids: Iterable[int]) -> list[Document]:
    """The document of each docid, a passage's whole document; `UsageError` for one that is gone."""
    wanted = [int(docid) for docid in docids]
    rows = _of_docids(
        catalog,
        "SELECT d.docid, d.doc_id, t.fields FROM json_each(?) wanted "
        "JOIN documents d ON d.docid=wanted.value JOIN texts t ON t.docid=d.group_docid",
        wanted,
    )
    found = {docid: _document(catalog, doc_id, fields) for docid, doc_id, fields in rows}
    for docid in wanted:
        if docid not in found:
            raise UsageError(f"docid {docid} is not in this index any more")
    return [found[docid] for docid in wanted]


def stored_spans(catalog: Catalog, docids: Iterable[int]) -> list[tuple[int, int] | None]:
    """Characters [start, end) of each passage within its document's text; None for a whole one."""
    wanted = [int(docid) for docid in docids]
    rows = _of_docids(
        catalog,
        "SELECT d.docid, d.span_start, d.span_end FROM json_each(?) wanted "
        "JOIN documents d ON d.docid=wanted.value WHERE d.span_start IS NOT NULL",
        wanted,
    )
    found = {docid: (int(start), int(end)) for docid, start, end in rows}
    return [found.get(docid) for docid in wanted]


def _of_docids(catalog: Catalog, sql: str, docids: list[int]) -> list[tuple[Any, ...]]:
    """One statement for all of them: beginning to read costs 20 us, a row less than one."""
    return catalog.rows(sql, (orjson.dumps(docids).decode(),)) if docids else []


def live_docids(catalog: Catalog, doc_id: str, *, at: int | None = None) -> list[int]:
    """Docids of the published live version of an id, one per passage, ascending."""
    with catalog.reading() as connection:
        return live_docids_in(connection, doc_id, at=at)


def live_document(catalog: Catalog, doc_id: str, *, at: int | None = None) -> Document | None:
    """The stored document of an id as of one commit (by default the newest); None when there is
    none.
    """
    with catalog.reading() as connection:
        docids = live_docids_in(connection, doc_id, at=at)
        if not docids:
            return None
        sql = (
            "SELECT t.fields FROM documents d JOIN texts t ON t.docid=d.group_docid WHERE d.docid=?"
        )
        return _document(catalog, doc_id, select(connection, sql, (docids[0],))[0][0])


def live_version(connection: apsw.Connection, doc_id: str, *, at: int | None = None) -> int | None:
    """The version of an id: the docid of its first passage, None when there is no such document."""
    docids = live_docids_in(connection, doc_id, at=at)
    return docids[0] if docids else None


def _document(catalog: Catalog, doc_id: str, stored: bytes) -> Document:
    try:
        return Document(doc_id, orjson.loads(stored))
    except orjson.JSONDecodeError as error:
        raise IndexCorrupt(
            f"{catalog.path}: the stored text of {doc_id!r} is damaged ({error}). Restore a "
            "copy or "
            "rebuild the index."
        ) from error


def live_docids_in(connection: apsw.Connection, doc_id: str, *, at: int | None = None) -> list[int]:
    """Docids of the version of an id that commit `at` saw (by default the newest commit), inside
    the caller's transaction. Raises `SnapshotGone` when `at` is out of reach.
    """
    check_doc_id(doc_id, 0)
    if at is not None:
        check_reachable(connection, at)
    rows = select(
        connection,
        "SELECT docid, added, NULL FROM documents WHERE doc_id=? AND deleted IS NULL",
        (doc_id,),
    )
    if at is not None:
        rows += select(
            connection,
            "SELECT docid, added, deleted FROM documents WHERE deleted > ? AND doc_id=?",
            (at, doc_id),
        )
    published: dict[int, int | None] = {}
    if at is not None or not rows or any(added < 0 for _, added, _ in rows):
        published = dict(select(connection, "SELECT build, published FROM builds"))
        # A version that an unpublished build replaces is still the one that counts.
        rows += select(
            connection,
            "SELECT docid, added, deleted FROM documents WHERE deleted<0 AND doc_id=?",
            (doc_id,),
        )

    def by_then(commit: int | None) -> bool:
        effective = published.get(-commit) if commit is not None and commit < 0 else commit
        return effective is not None and (at is None or effective <= at)

    return sorted(
        int(docid) for docid, added, deleted in rows if by_then(added) and not by_then(deleted)
    )


def stored_fields(catalog: Catalog, docids: Sequence[int]) -> list[bytes]:
    """The JSON of the stored fields of each docid (of a passage: of its document), in order.

    Raises `UsageError` for a docid that is gone.
    """
    # A text is stored under the docid of its document's first passage: nearly always the one asked
    # for, and then a third of the time is saved.
    select = "SELECT docid, fields FROM texts WHERE docid IN (SELECT value FROM json_each(?))"
    found = dict(catalog.rows(select, (orjson.dumps(list(docids)).decode(),)))
    if len(found) < len(docids):
        others = [docid for docid in docids if docid not in found]
        found |= dict(
            catalog.rows(
                "SELECT d.docid, t.fields FROM json_each(?) j JOIN documents d ON d.docid=j.value "
                "JOIN texts t ON t.docid=d.group_docid",
                (orjson.dumps(others).decode(),),
            )
        )
    for docid in docids:
        if docid not in found:
            raise UsageError(f"docid {docid} is not in this index any more")
    return [bytes(found[docid]) for docid in docids]
