"""The stored fields of hits, within what one answer may be made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import orjson

from index import Cancel, Index

from ..problems import ProblemError

_FIRST = 8
"""Documents read at first; then twice as many each time, as long as they are small."""
_AT_ONCE = 8 << 20
"""Bytes of documents read at once, by the largest that was seen."""


@dataclass(slots=True)
class Room:
    """How many bytes of stored fields the answer of a request may still be made of."""

    n_bytes: int


@dataclass(slots=True)
class Stored:
    """The JSON of each hit's fields; `names` are those of all hits, where only some are kept."""

    rows: list[bytes] = field(default_factory=list)
    n_bytes: int = 0
    names: set[str] = field(default_factory=set)


def read_stored(
    index: Index,
    docids: npt.NDArray[np.uint32],
    *,
    kept: Sequence[str] | None,
    room: Room | None,
    cancel: Cancel | None,
) -> Stored:
    """The stored fields of these docids, or the `kept` ones of them.

    Raises the problems `answer_too_large` and `cancelled`, and `UsageError` for a docid that is
    gone.
    """
    stored = Stored()
    at, some, largest = 0, _FIRST, 1
    while at < len(docids):
        require_wanted(cancel)
        for whole in index.stored_fields(docids[at : at + some]):
            largest = max(largest, len(whole))
            row = whole if kept is None else _only(whole, kept, stored.names)
            stored.n_bytes += len(row)
            stored.rows.append(row)
            if room is not None and stored.n_bytes > room.n_bytes:
                raise ProblemError(
                    "answer_too_large",
                    "The fields of the hits take more bytes than the answer of one request may.",
                    hint="Ask for fewer hits at a time, or for some of their `fields`; /v1/info "
                    "tells the limit.",
                )
        at += some
        some = min(2 * some, max(1, _AT_ONCE // largest))
    return stored


def require_wanted(cancel: Cancel | None) -> None:
    """Raise the problem `cancelled` once nobody waits for the answer, or its time is over."""
    if cancel is not None and cancel.is_set():
        raise ProblemError("cancelled", "The search was called off.")


def _only(whole: bytes, kept: Sequence[str], names: set[str]) -> bytes:
    given = orjson.loads(whole)
    names.update(given)
    return orjson.dumps({name: given[name] for name in kept if name in given})
