"""Adds and deletes grouped into one commit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lsr.errors import UsageError, VersionConflict
from lsr.types import Document, SparseMatrix

from .catalog import Catalog, new_commit
from .changes import (
    insert_documents,
    insert_pending,
    reserve_docids,
    tombstone_documents,
    tombstone_versions,
)
from .columns import Kind
from .filtering import Expression, Filter, parsed
from .memory import Remembered, forgotten, remember_all, remembered_as
from .rows import Passage, Rows, check_doc_id, checked_rows
from .settings import Settings
from .stored import live_version


@dataclass(frozen=True, slots=True)
class Commit:
    """A durable change that every later search sees."""

    number: int
    n_added: int
    n_replaced: int
    n_deleted: int


class Writer:
    """Adds and deletes that become one commit when the `with` body ends; none of them if it
    raises.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        n_terms: int,
        declared: Mapping[str, Kind],
        settings: Settings,
        matching: Callable[[Expression], npt.NDArray[np.uint32]],
        committed: Callable[[], None],
    ) -> None:
        self._catalog = catalog
        self._n_terms = n_terms
        self._declared = declared
        self._settings = settings
        self._matching = matching
        self._committed = committed
        self._changes: list[Rows | list[str] | Expression] = []
        self._expected: list[tuple[str, int | Literal["any"] | None]] = []
        self._remembered: list[Remembered | tuple[str, Callable[[Commit], Any]]] = []
        self._state: Literal["new", "open", "done"] = "new"
        self.commit: Commit | None = None

    def __enter__(self) -> "Writer":
        """Raises `UsageError` the second time: what it wrote would be written again, over what
        others have written since.
        """
        if self._state != "new":
            raise UsageError("a writer makes one commit; take another with Index.writer()")
        self._state = "open"
        return self

    def _require_open(self) -> None:
        if self._state != "open":
            raise UsageError(
                "a writer collects changes inside its `with` body and nowhere else: "
                "with index.writer() as writer: writer.add(...)"
            )

    def add(
        self,
        documents: Sequence[Document],
        vectors: SparseMatrix,
        *,
        passages: Sequence[Passage] | None = None,
    ) -> None:
        """As `Index.add`; checked now, written when the body ends."""
        self._require_open()
        rows = checked_rows(
            documents,
            vectors,
            n_terms=self._n_terms,
            declared=self._declared,
            passages=passages,
        )
        self._changes.append(replace(rows, vectors=self._settings.of_documents(rows.vectors)))

    def delete(self, doc_ids: Iterable[str]) -> None:
        """As `Index.delete`."""
        self._require_open()
        if isinstance(doc_ids, str):
            raise UsageError(f"delete takes a list of ids, got the string {doc_ids!r}")
        ids = list(doc_ids)
        for number, doc_id in enumerate(ids):
            check_doc_id(doc_id, number)
        self._changes.append(ids)

    def delete_where(self, filter: Filter) -> None:
        """Delete the documents that pass a filter, as they were before this writer changes any.

        Raises `FilterError`, and `UsageError` for an empty filter, which would mean every document.
        """
        self._require_open()
        expression = parsed(filter, self._declared)
        if expression is None:
            raise UsageError(
                "an empty filter would delete every document; if that is meant, say {'all': []}"
            )
        self._changes.append(expression)

    def expect(self, doc_id: str, version: int | Literal["any"] | None) -> None:
        """Write nothing unless the live document of this id has this `Index.version`, "any" if
        there must be one, None if there must be none.

        Looked at when the body ends, in the transaction itself, before any change of this writer;
        then raises `VersionConflict`.
        """
        self._require_open()
        check_doc_id(doc_id, len(self._expected))
        self._expected.append((doc_id, version))

    def remember(self, key: str, value: Any) -> None:
        """Keep a JSON value under `key` as part of this commit; `Index.remembered` reads it.

        So a caller whose work comes in numbered pieces knows after a crash which of them are in.
        """
        self._require_open()
        self._remembered.append(remembered_as(key, value))

    def remember_of(self, key: str, told: Callable[[Commit], Any]) -> None:
        """As `remember`, for what is known only when the body has ended: `told` makes it of the
        commit, inside the transaction.
        """
        self._require_open()
        self._remembered.append((key, told))

    def forget(self, key: str) -> None:
        """Remove what was remembered under `key`, as part of this commit."""
        self._require_open()
        self._remembered.append(forgotten(key))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._state = "done"
        if error is None:
            self._write()

    def _write(self) -> None:
        catalog = self._catalog
        n_added = n_replaced = n_deleted = 0
        with catalog.transaction() as connection:
            for doc_id, expected in self._expected:
                found = live_version(connection, doc_id)
                if found is None if expected == "any" else found != expected:
                    raise VersionConflict(doc_id, expected=expected, found=found)
            # Before anything changes, and inside the transaction: nobody else can change it either.
            chosen = [
                None if isinstance(change, Rows | list) else self._matching(change)
                for change in self._changes
            ]
            number = new_commit(connection, "write")
            for change, docids in zip(self._changes, chosen, strict=True):
                if docids is not None:
                    n_deleted += tombstone_versions(connection, docids, deleted=number)
                elif isinstance(change, Rows):
                    # An id added twice in one commit: the later version counts, the earlier was
                    # never seen.
                    first = reserve_docids(connection, len(change))
                    n_replaced += insert_documents(connection, change, first=first, added=number)
                    insert_pending(connection, change, first=first, added=number)
                    n_added += len(change.documents)
                elif isinstance(change, list):
                    n_deleted += tombstone_documents(connection, change, deleted=number)
            commit = Commit(number, n_added, n_replaced, n_deleted)
            remember_all(
                connection,
                (
                    one if isinstance(one, Remembered) else remembered_as(one[0], one[1](commit))
                    for one in self._remembered
                ),
            )
            connection.execute(
                "UPDATE commits SET n_added=?, n_replaced=?, n_deleted=? WHERE number=?",
                (n_added, n_replaced, n_deleted, number),
            )
        self.commit = commit
        self._committed()
