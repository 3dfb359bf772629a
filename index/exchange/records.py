"""An index as a stream of rows for other engines: ids, stored fields, weights by term."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import orjson

from ..live import positions_in

if TYPE_CHECKING:
    from ..reading import Reader
    from ..store import Index

BATCH = 2048

Weights = Literal["impacts", "floats"]
"""`impacts`: the 8-bit integers our searches add up, which every engine represents exactly, so that
it ranks as we do. `floats`: the stored float16 weights, which say a little more."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some passages (documents where nothing was split), by docid ascending.

    Row i has the postings starts[i] .. starts[i + 1] - 1 of `terms` (uint32) and `weights` (uint8,
    or float32). `ids` are unique: of a document in several passages `ID#1`, `ID#2`, and so on, with
    their `doc_ids` beside them. `fields` are JSON objects as stored.
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
    for start, part in index.parts():
        yield from _rows_of(part, start, weights)


def row_ids(index: "Index") -> dict[int, str]:
    """The exported id of every docid."""
    return {
        docid: row_id
        for rows in rows_of(index)
        for docid, row_id in zip(rows.docids.tolist(), rows.ids, strict=True)
    }


def _rows_of(index: "Reader", start: int, weights: Weights) -> Iterator[Rows]:
    snapshot = index.refresh()
    for view in snapshot.views:
        live = positions_in(view.live, view.segment.n_docs)
        live = live[np.argsort(view.segment.docids[live], kind="stable")]
        # Passages of a document lie in one segment, their docids side by side.
        groups = None if view.segment.groups is None else view.segment.groups[live]
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
            ids = doc_ids
            if groups is not None:
                ids = _numbered(doc_ids, groups, first)
            yield Rows(
                ids,
                doc_ids,
                docids + np.uint32(start),
                index.stored_fields(docids),
                starts,
                terms,
                values,
            )


def _numbered(doc_ids: list[str], groups: npt.NDArray[np.uint32], first: int) -> list[str]:
    """As `numbered`, of some rows of a segment, the first of which is row `first` of `groups`."""
    mine = groups[first : first + len(doc_ids)]
    begins = np.searchsorted(groups, mine, side="left")
    ends = np.searchsorted(groups, mine, side="right")
    places = np.arange(first, first + len(doc_ids)) - begins + 1
    return [
        doc_id if n == 1 else f"{doc_id}#{place}"
        for doc_id, n, place in zip(doc_ids, (ends - begins).tolist(), places.tolist(), strict=True)
    ]


def numbered(doc_ids: list[str]) -> list[str]:
    """Unique ids of rows in the order of their docids: `ID#n` for the nth passage of a document
    that has several.

    >>> numbered(["a", "a", "b"])
    ['a#1', 'a#2', 'b']
    """
    several, seen = Counter(doc_ids), Counter[str]()
    ids = []
    for doc_id in doc_ids:
        seen[doc_id] += 1
        ids.append(doc_id if several[doc_id] == 1 else f"{doc_id}#{seen[doc_id]}")
    return ids


def with_members(fields: bytes, **members: object) -> orjson.Fragment:
    """A stored JSON object and further members, without parsing it: ours come first."""
    head = orjson.dumps(members)
    inner = fields.strip()[1:-1]
    return orjson.Fragment(head[:-1] + (b"," + inner if inner.strip() else b"") + b"}")
