"""The stored fields of hits, within what one answer may be made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from index import Cancel, Index

from ..problems import ProblemError
from .cancelling import require_wanted

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
    """Of each hit: the JSON of the fields that are told, and all fields where they were asked for.

    `names` are those of all hits' fields, known where fields were read.
    """

    told: list[bytes] = field(default_factory=list)
    whole: list[dict[str, Any]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    n_bytes: int = 0


def read_stored(
    index: Index,
    docids: npt.NDArray[np.uint32],
    *,
    fields: Sequence[str] | None,
    whole: bool,
    room: Room | None,
    cancel: Cancel | None,
) -> Stored:
    """The stored `fields` of these docids (None: all, as they lie), and with `whole` all of them.

    Raises the problems `answer_too_large` and `cancelled`, and `UsageError` for a docid that is
    gone.
    """
    stored = Stored()
    at, some, largest = 0, _FIRST, 1
    while at < len(docids):
        require_wanted(cancel)
        for row in index.stored_fields(docids[at : at + some]):
            largest = max(largest, len(row))
            told = row
            if whole or fields is not None:
                given = orjson.loads(row)
                stored.names.update(given)
                if fields is not None:
                    told = orjson.dumps({name: given[name] for name in fields if name in given})
                if whole:
                    stored.whole.append(given)
            stored.told.append(told)
            stored.n_bytes += len(row if whole else told)
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
