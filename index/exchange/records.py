"""An index as a stream of rows for other engines: ids, stored fields, weights by term."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import orjson

from ..live import positions_in

if TYPE_CHECKING:
    from ..reading import Reader
    from ..snapshot import Snapshot
    from ..store import Index

BATCH = 2048

Weights = Literal["impacts", "floats"]
"""`impacts`: the 8-bit integers our searches add up, which every engine represents exactly, so that
it ranks as we do. `floats`: the stored float16 weights, which say a little more."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some passages (documents where nothing was split), by docid ascending.

    Row i has the postings starts[i] .. starts[i + 1] - 1 of `terms` (uint32) and `weights` (uint8,
    or float32). `ids` are unique: where any document has several passages `ID#1`, `ID#2`, and so
    on, with their `doc_ids` beside them. `fields` are JSON objects as stored.
    """

    ids: list[str]
    doc_ids: list[str]
    docids: npt.NDArray[np.uint32]
    fields: list[bytes]
    starts: npt.NDArray[np.int64]
    terms: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.uint8] | npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


def rows_of(index: "Index", *, weights: Weights = "impacts") -> Iterator[Rows]:
    """Everything that a search of `index` may return at the commit that is newest now.

    Memory is that of one batch, besides the maps of segments.
    """
    parts = [(start, part, part.refresh()) for start, part in index.parts()]
    split = any(_is_split(snapshot) for _, _, snapshot in parts)
    for start, part, snapshot in parts:
        yield from _rows_of(part, snapshot, start, weights, split=split)


def row_ids(index: "Index") -> dict[int, str]:
    """The exported id of every docid."""
    return {
        docid: row_id
        for rows in rows_of(index)
        for docid, row_id in zip(rows.docids.tolist(), rows.ids, strict=True)
    }


def _is_split(snapshot: "Snapshot") -> bool:
    """Whether a document has several passages that a search may return."""
    for view in snapshot.views:
        groups = view.segment.groups
        if groups is not None:
            live = positions_in(view.live, view.segment.n_docs)
            if len(np.unique(groups[live])) < len(live):
                return True
    return False


def _rows_of(
    index: "Reader", snapshot: "Snapshot", start: int, weights: Weights, *, split: bool
) -> Iterator[Rows]:
    for view in snapshot.views:
        live = positions_in(view.live, view.segment.n_docs)
        live = live[np.argsort(view.segment.docids[live], kind="stable")]
        # Passages of a document lie in one segment, their docids side by side.
        passages = Numbering()
        for first in range(0, len(live), BATCH):
            chosen = live[first : first + BATCH]
            docids = view.segment.docids[chosen]
            doc_ids = view.segment.doc_ids(chosen)
            values: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
            if weights == "impacts":
                starts, terms, values = view.segment.impacts(chosen)
            else:
                csr = view.segment.vectors(chosen)
                starts = csr.indptr.astype(np.int64)
                terms, values = csr.indices.astype(np.uint32), csr.data
            yield Rows(
                passages.of(doc_ids) if split else doc_ids,
                doc_ids,
                docids + np.uint32(start),
                index.stored_fields(docids),
                starts,
                terms,
                values,
            )


class Numbering:
    """`ID#n` for the nth passage of each document, of rows in the order of their docids, in which
    passages of one lie side by side.

    >>> Numbering().of(["a", "a", "b", "a#1"])
    ['a#1', 'a#2', 'b#1', 'a#1#1']
    """

    def __init__(self) -> None:
        self._last: str | None = None
        self._n = 0

    def of(self, doc_ids: Iterable[str]) -> list[str]:
        """Of the rows that come next."""
        ids = []
        for doc_id in doc_ids:
            self._n = self._n + 1 if doc_id == self._last else 1
            self._last = doc_id
            ids.append(f"{doc_id}#{self._n}")
        return ids


def is_reserved(name: str, reserved: Collection[str]) -> bool:
    """Whether a field of a document takes one of the `reserved` names.

    Engines read `a.b` as b inside of a, where a must then be no field of another type.

    >>> [is_reserved(name, {"lsr"}) for name in ("lsr", "lsr.old", "lsr_2")]
    [True, True, False]
    """
    return name.partition(".")[0] in reserved


def without(rows: Rows, reserved: Collection[str]) -> tuple[Rows, list[tuple[str, str]]]:
    """The rows without stored fields of `reserved` names, and the name and document of each."""
    if not reserved:
        return rows, []
    # Stored JSON is orjson's, which escapes no letter: most rows are seen to be free unparsed.
    suspect = re.compile(b'"(?:%s)[".]' % b"|".join(re.escape(one.encode()) for one in reserved))
    fields, taken = [], []
    for doc_id, stored in zip(rows.doc_ids, rows.fields, strict=True):
        if suspect.search(stored):
            read = orjson.loads(stored)
            clashing = [name for name in read if is_reserved(name, reserved)]
            taken += [(name, doc_id) for name in clashing]
            for name in clashing:
                del read[name]
            stored = orjson.dumps(read) if clashing else stored
        fields.append(stored)
    return replace(rows, fields=fields), taken


def with_members(fields: bytes, **members: object) -> orjson.Fragment:
    """A stored JSON object and further members, without parsing it: ours come first.

    It must have none of their names, as rows `without` them have not: JSON with a name twice is
    read as each reader likes.
    """
    head = orjson.dumps(members)
    inner = fields.strip()[1:-1]
    return orjson.Fragment(head[:-1] + (b"," + inner if inner.strip() else b"") + b"}")
