"""The door to the compiled core: integer queries against segments, exact unless asked otherwise."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import QueryError, SearchCancelled, UsageError

from . import _core
from .approximate import Approximate, SearchReport
from .live import Live, n_words
from .quantize import IntegerQuery
from .segment import Segment

Algorithm = Literal["auto", "exhaustive", "blockmax"]
ALGORITHMS: dict[str, _core.Algorithm] = {
    "auto": _core.Algorithm.automatic,
    "exhaustive": _core.Algorithm.exhaustive,
    "blockmax": _core.Algorithm.blockmax,
}
BLOCKS_PER_PAGE = 8


class Cancel(_core.Cancel):
    """Ends the searches it was given to: `set()` from any thread, and they raise `SearchCancelled`.

    A raised flag stays raised: make a new one for later searches.
    """


class Found(NamedTuple):
    """Docids and integer scores of one query, best first, and the core's account of the search."""

    docids: npt.NDArray[np.uint32]
    scores: npt.NDArray[np.uint32]
    report: _core.Report


def search(
    segments: Sequence[Segment],
    live: Sequence[Live | None],
    query: IntegerQuery,
    k: int,
    *,
    algorithm: Algorithm = "auto",
    approximate: Approximate | None = None,
    by_group: bool = False,
    timeout: float | None = None,
    cancel: Cancel | None = None,
) -> Found:
    """The k best documents of all segments, best first.

    `live[i]` is None or the words of `live.py`. Ties go to the smaller docid; documents that share
    no term with the query are never returned. `by_group` keeps the best passage of each group.
    After `timeout` seconds the best found so far are returned and the report says `stopped`.
    """
    found = Found(
        *_core.search(
            [segment.view for segment in segments],
            _checked(segments, live),
            query.terms,
            query.weights,
            _checked_k(segments, k),
            _algorithm(algorithm, approximate),
            _budget(segments, approximate, k),
            by_group,
            _checked_timeout(timeout),
            cancel,
        )
    )
    _raise_if_cancelled(cancel)
    return found


def search_batch(
    segments: Sequence[Segment],
    live: Sequence[Live | None],
    queries: Sequence[IntegerQuery],
    k: int,
    *,
    threads: int = 1,
    algorithm: Algorithm = "auto",
    approximate: Approximate | None = None,
    by_group: bool = False,
    timeout: float | None = None,
    cancel: Cancel | None = None,
) -> list[Found]:
    """`search` for many queries on `threads` threads, outside the GIL; the answers are the same.

    `timeout` counts for the whole batch. Ctrl-C ends it within the query under way.
    """
    if threads < 1:
        raise UsageError(f"threads = {threads}; at least one is needed")
    offsets = np.zeros(len(queries) + 1, np.uint64)
    np.cumsum([len(query) for query in queries], out=offsets[1:])
    answers = _core.search_batch(
        [segment.view for segment in segments],
        _checked(segments, live),
        offsets,
        _joined([query.terms for query in queries], np.dtype(np.uint32)),
        _joined([query.weights for query in queries], np.dtype(np.uint16)),
        _checked_k(segments, k),
        threads,
        _algorithm(algorithm, approximate),
        _budget(segments, approximate, k),
        by_group,
        _checked_timeout(timeout),
        cancel,
    )
    _raise_if_cancelled(cancel)
    return [Found(*answer) for answer in answers]


def report_of(found: Found, *, unit: float, approximate: Approximate | None) -> SearchReport:
    """The core's account in the encoder's unit; `unit` is the value of score 1."""
    core = found.report
    used = [name for name in ("blockmax", "exhaustive") if getattr(core, name)]
    return SearchReport(
        mode="exact" if approximate is None else "approximate",
        exact=core.exact,
        stopped=core.stopped,
        algorithm=used[0] if len(used) == 1 else "mixed" if used else "forward",
        pages=core.pages,
        pages_scored=core.pages_scored,
        blocks=core.pages * BLOCKS_PER_PAGE,
        blocks_scored=core.blocks_scored,
        bound_skipped=core.skipped * unit,
    )


def documents_with(segment: Segment, term: int) -> Live:
    """The live words of the documents of a segment that hold a term."""
    return _core.documents_with(segment.view, term)


def _joined(arrays: list[npt.NDArray[Any]], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _raise_if_cancelled(cancel: Cancel | None) -> None:
    if cancel is not None and cancel.is_set():
        raise SearchCancelled("the search was cancelled; give later searches a new Cancel")


def _algorithm(name: str, approximate: Approximate | None) -> _core.Algorithm:
    if name not in ALGORITHMS:
        raise QueryError(f"no algorithm {name!r}; use one of {', '.join(ALGORITHMS)}")
    if name == "exhaustive" and approximate is not None:
        raise QueryError(
            "the algorithm exhaustive scores every page, and an approximate search was asked for, "
            "which scores some; leave one of them out"
        )
    return ALGORITHMS[name]


def _checked_k(segments: Sequence[Segment], k: int) -> int:
    """`k`, or all documents where that is fewer: any number may be asked for, the core holds 64
    bits of it."""
    if k < 0:
        raise QueryError(f"k = {k}; ask for at least one document")
    return min(k, sum(segment.n_docs for segment in segments))


def _budget(segments: Sequence[Segment], approximate: Approximate | None, k: int) -> int:
    """Pages to score, 0 for an exact search; all where more are asked for (a page holds several
    documents, so there are fewer pages than documents)."""
    if approximate is None:
        return 0
    everything = 1 + sum(segment.n_docs for segment in segments)
    return min(approximate.budget(min(k, everything)), everything)


def _checked_timeout(timeout: float | None) -> float | None:
    if timeout is not None and not timeout > 0:
        raise QueryError(f"timeout = {timeout}: wanted seconds above 0")
    return timeout


def _checked(segments: Sequence[Segment], live: Iterable[Live | None]) -> list[Live | None]:
    """The words, or an error that says which are of a wrong type: the core could only say no."""
    masks = list(live)
    if len(masks) == len(segments) and all(mask is None for mask in masks):
        return masks  # nearly always
    if len(masks) != len(segments):
        raise UsageError(
            f"{len(segments)} segments but {len(masks)} live masks (None means all live)"
        )
    for i, (segment, mask) in enumerate(zip(segments, masks, strict=True)):
        if mask is None:
            continue
        wanted = (n_words(segment.n_docs),)
        if mask.dtype != np.uint32 or mask.shape != wanted or not mask.flags.c_contiguous:
            raise UsageError(
                f"live words {i} must be contiguous uint32 of shape {wanted}, got {mask.dtype} of "
                f"shape {mask.shape}; `live.pack` makes them of a mask"
            )
    return masks
