"""From a search request to its answer: read the query, search, fetch fields, explain.

The ranking is of one commit. Stored fields and explanations are read after it; where a document was
replaced and cleared away in between, the search is run again, so that an answer never mixes
commits. Nothing is computed that was not asked for.
"""

from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from index import Approximate, Cancel, Hits
from lsr.errors import (
    QueryError,
    SearchCancelled,
    ShardMissing,
    SnapshotGone,
    UsageError,
    VectorError,
)
from lsr.types import Document

from ..collection import Collection
from ..filters import prepare
from ..problems import ProblemError, did_you_mean
from ..wire.search import MAX_DEPTH, Approximately, SearchRequest, TopTerms
from .cancelling import called_off, require_wanted
from .counting import total
from .cursors import Place, expired, next_cursor, place_of
from .explaining import explanation, passage, said_terms
from .highlighting import highlights
from .queries import MAX_LISTED, ReadQuery, notice, read_query
from .queries import report as query_report
from .question import Question
from .stored import Room, Stored, read_stored
from .terms import term_numbers, threshold_of
from .watch import Stopwatch

TRIES = 3


class _ReplacedError(Exception):
    """A document of the answer is not what it was when it was ranked."""


@dataclass(frozen=True, slots=True)
class _Page:
    """The hits that an answer tells, and whether there may be more."""

    doc_ids: list[str]
    docids: npt.NDArray[np.uint32]
    points: npt.NDArray[np.uint32]
    full: bool


def search(
    collection: Collection,
    request: SearchRequest,
    *,
    secret: bytes,
    cancel: Cancel | None = None,
    room: Room | None = None,
) -> tuple[dict[str, Any], Stopwatch]:
    """The answer, ready for JSON, and its times. Raises `ProblemError`.

    `secret` signs cursors; `cancel` ends the search from another thread; `room` is shared by the
    searches of one request.
    """
    watch = Stopwatch()
    place = None if request.cursor is None else place_of(collection, request, secret)
    if place is not None and place.generation is None and request.query.like is not None:
        place = replace(place, generation=collection.index.generation)  # of query and hits alike
    at = None if place is None else place.generation
    try:
        query = read_query(collection, request.query, at=at)
    except SnapshotGone as error:
        raise expired(collection) from error
    watch.lap("encode")
    best = None if place is None else place.best_possible
    threshold = threshold_of(collection, query.matrix, request.min_score, best=best)
    prepare(collection.index, request.filter)
    mode = request.mode
    question = Question(
        query,
        request.filter,
        term_numbers(collection, request.require_terms, "require_terms"),
        term_numbers(collection, request.exclude_terms, "exclude_terms"),
        Approximate(recall=mode.approx.recall, pages=mode.approx.pages)
        if isinstance(mode, Approximately)
        else None,
        None if threshold is None else threshold["value"],
        place,
        request.offset if place is None else place.position,
        request.limit,
    )
    watch.lap("filter")
    for _ in range(TRIES):
        found = _ranked(collection, question, request, watch, cancel)
        page = _page(found, question)
        watch.lap("score")
        try:
            hits, warnings = _told(collection, question, request, found, page, cancel, room)
        except _ReplacedError:
            continue
        except ShardMissing:  # it went away after it was searched: search the others again
            if request.on_missing_shard == "fail":
                raise
            continue
        finally:
            watch.lap("fetch")
        break
    else:
        raise ProblemError(
            "index_busy",
            "Documents of the answer were replaced while it was put together, "
            f"{TRIES} times in a row.",
            hint="Try again.",
            headers={"Retry-After": "1"},
        )
    report = found.report
    watch.blocks, watch.blocks_scored = report.blocks, report.blocks_scored
    answer: dict[str, Any] = {
        "index": collection.name,
        "generation": found.generation,
        "mode": "exact" if question.approximate is None else "approx",
        "exact": report.exact,
        "timed_out": report.stopped,
        "query": query_report(collection, query),
        "hits": hits,
        "warnings": [*query.warnings, *warnings],
    }
    if found.missing:
        answer |= {"partial": True, "missing_shards": list(found.missing)}
    if question.approximate is not None or report.stopped:
        certificate = asdict(report)
        for told in ("mode", "exact", "stopped"):
            del certificate[told]
        answer["certificate"] = certificate
    if request.count != "none":
        answer["total"] = _total(collection, question, request, found, cancel)
        watch.lap("score")
    if threshold is not None:
        answer["min_score"] = threshold
    if place is not None:
        following = Place(
            found.generation,
            question.first + request.limit,
            None if threshold is None else threshold.get("best_possible"),
        )
        answer["next_cursor"] = (
            next_cursor(collection, request, secret, following)
            if page.full and not report.stopped and following.position < MAX_DEPTH
            else None
        )
    return answer, watch


def _ranked(
    collection: Collection,
    question: Question,
    request: SearchRequest,
    watch: Stopwatch,
    cancel: Cancel | None,
) -> Hits:
    timeout = None
    if request.timeout_ms is not None:  # what reading the query took is gone
        timeout = max(1e-6, (request.timeout_ms - watch.elapsed_ms()) / 1000)
    try:
        return collection.index.search(
            question.query.matrix,
            question.wanted,
            filter=question.filter,
            require=question.require,
            exclude=question.exclude,
            approximate=question.approximate,
            at=None if question.place is None else question.place.generation,
            timeout=timeout,
            cancel=cancel,
            missing_ok=request.on_missing_shard == "partial",
        )
    except SnapshotGone as error:
        raise expired(collection) from error
    except (QueryError, VectorError) as error:
        raise ProblemError("invalid_query", f"{error}.") from error
    except SearchCancelled as error:
        raise called_off() from error


def _page(found: Hits, question: Question) -> _Page:
    """What of a ranking is told: without the query's own document, above the threshold."""
    found = found.without(question.query.skip)
    doc_ids, docids, points = found.doc_ids, found.ranking.docids, found.ranking.scores
    end = question.first + question.limit
    full = len(doc_ids) >= end
    if question.threshold is not None:
        n_above = int(np.count_nonzero(points * found.ranking.unit >= question.threshold))
        end, full = min(end, n_above), full and n_above >= end
    part = slice(question.first, end)
    return _Page(doc_ids[part], docids[part], points[part], full)


def _total(
    collection: Collection,
    question: Question,
    request: SearchRequest,
    found: Hits,
    cancel: Cancel | None,
) -> dict[str, Any]:
    exactly = request.count == "exact"
    try:
        value, relation = total(collection.index, question, found, exactly=exactly, cancel=cancel)
    except SearchCancelled as error:
        raise called_off() from error
    except (SnapshotGone, UsageError) as error:
        raise ProblemError(
            "index_busy", "The index changed while its documents were counted.", hint="Try again."
        ) from error
    return {"value": value, "relation": relation}


def _told(
    collection: Collection,
    question: Question,
    request: SearchRequest,
    found: Hits,
    page: _Page,
    cancel: Cancel | None,
    room: Room | None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The hits with all that was asked for, and warnings about it."""
    index = collection.index
    scores = (page.points.astype(np.float64) * found.ranking.unit).tolist()
    hits: list[dict[str, Any]] = [
        {"id": doc_id, "rank": rank, "score": score, "fields": {}}
        for rank, (doc_id, score) in enumerate(
            zip(page.doc_ids, scores, strict=True), start=question.first + 1
        )
    ]
    if not hits:
        return hits, []
    looked_into = request.highlight is not None or request.explain is not False
    whole = looked_into or (found.split and request.fields != [])  # passages tell their texts
    stored = Stored()
    try:
        if whole or request.fields != []:
            stored = read_stored(
                index, page.docids, fields=request.fields, whole=whole, room=room, cancel=cancel
            )
        documents = [
            Document(doc_id, fields)
            for doc_id, fields in zip(page.doc_ids, stored.whole, strict=False)  # all, or none
        ]
        for hit, told in zip(hits, stored.told, strict=False):
            hit["fields"] = orjson.Fragment(told)  # which may be as deep as JSON goes
        if found.split:
            spans = index.spans(page.docids.tolist())
            read = documents if request.fields != [] else [None] * len(hits)
            for hit, document, span in zip(hits, read, spans, strict=True):
                if span is not None:
                    hit["passage"] = passage(span, collection, document)
        if request.explain is not False:
            _explain(collection, question.query, request, page, documents, hits, cancel)
    except UsageError as error:  # a document of the ranking is gone
        if question.place is not None and question.place.generation is not None:
            raise expired(collection) from error  # another look finds the same
        raise _ReplacedError from error
    warnings: list[dict[str, Any]] = []
    if request.fields:
        warnings += _field_warnings(request.fields, stored.names)
    if request.highlight is not None:
        warnings += _field_warnings(request.highlight.fields, stored.names)
        origins = index.origins_of(page.docids.tolist())
        for hit, document, known in zip(hits, documents, origins, strict=True):
            require_wanted(cancel)
            hit["highlights"] = highlights(
                collection, question.query.matrix, document, request.highlight, known
            )
    if room is not None:
        room.n_bytes -= stored.n_bytes
    return hits, warnings


def _explain(
    collection: Collection,
    query: ReadQuery,
    request: SearchRequest,
    page: _Page,
    documents: Sequence[Document],
    hits: Sequence[dict[str, Any]],
    cancel: Cancel | None,
) -> None:
    top_terms = request.explain.top_terms if isinstance(request.explain, TopTerms) else None
    explained, unit = collection.index.explain_docids(query.matrix, page.docids)
    for one, ranked, document, hit in zip(
        explained, page.points.tolist(), documents, hits, strict=True
    ):
        require_wanted(cancel)  # a text is read for each
        best = hit.get("passage")
        span = None if best is None else (best["start"], best["end"])
        hit["explain"] = explanation(
            collection,
            one,
            spoken=said_terms(collection, document, span),
            unit=unit,
            ranked=ranked,
            top_terms=top_terms,
        )


def _field_warnings(wanted: Sequence[str], stored: Set[str]) -> list[dict[str, Any]]:
    """Documents have no schema, so a wanted field that no hit has may be a slip of the pen."""
    missing = [name for name in wanted if name not in stored]
    if not missing:
        return []
    hint = did_you_mean(missing[0], sorted(stored))
    message = "No hit has these fields." + (f" {hint}" if hint else "")
    return [notice("unknown_fields", message, missing[:MAX_LISTED])]
