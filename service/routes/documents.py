"""Documents: stream them in, read, replace and delete them."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Path, Query, Request
from starlette.responses import Response

from index import is_doc_id
from lsr.errors import UsageError

from ..access import needs
from ..bodies import body_lines
from ..engine import Engine
from ..filters import check
from ..home.queue import Task
from ..home.registry import Entry
from ..problems import KINDS, ProblemError
from ..receiving import Upload, finished, submit, where_of
from ..wire.documents import DeleteRequest, DocumentBody, StoredDocument, WrittenDocument
from ..wire.tasks import TaskInfo
from .answering import (
    OF_FILTERS,
    OF_INDEX,
    OF_TASKS,
    IndexName,
    collection_of,
    engine_of,
    entry_of,
    json,
    opened,
    problems,
)
from .guarding import GuardedRoute
from .tasks import shown

router = APIRouter(route_class=GuardedRoute)

DocumentId = Annotated[
    str, Path(description="The document's id, percent-encoded; it may hold '/'.")
]
Wait = Annotated[
    float, Query(ge=0, le=300, description="Seconds to wait for the end before answering 202.")
]
IfMatch = Annotated[
    str | None,
    Header(description="Only if the document is of this version: an ETag. `*`: if there is one."),
]
IfNoneMatch = Annotated[str | None, Header(description="`*`: only if there is none.")]
NDJSON = ("application/x-ndjson", "application/jsonl", "application/json-seq", "application/json")
_ETAG = re.compile(r'"(\d{1,10})"')


@router.post(
    "/v1/indexes/{name}/documents",
    tags=["documents"],
    summary="Add documents",
    response_model=TaskInfo,
    responses={
        202: {"model": TaskInfo, "description": "Acknowledged; the task goes on."},
        **problems(
            *OF_TASKS,
            "index_mounted",
            "bad_request",
            "body_too_slow",
            "malformed_body",
            "unsupported_media_type",
            "invalid_request",
            "idempotency_conflict",
            "backlog_full",
            "index_busy",
            "rejected",
        ),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "NDJSON: a document a line, with `id` and `fields`, and `tokens` or "
            "`vector` where it is encoded already. What is read, `title` and `text`, must be "
            "strings. Content-Encoding may be gzip or zstd.",
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        }
    },
)
@needs("write", streamed=True)
async def add_documents(
    name: IndexName,
    request: Request,
    ack: Annotated[
        Literal["searchable", "logged"],
        Query(description="What is true once this is answered: found by searches, or durable."),
    ] = "searchable",
    wait: Wait = 30.0,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Documents whose id exists are replaced. Lines that are no documents are rejected one by one.

    200 once all are searchable; 202 with the task when only logged was asked for or `wait` is over:
    by then they are durable, and will be searchable even if the server is killed.
    """
    engine = engine_of(request)
    engine.writable_home()
    entry = await run_sync(_writable, request, name)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in NDJSON:
        raise ProblemError(
            "unsupported_media_type",
            f"The body is declared as '{media_type[:80]}', wanted 'application/x-ndjson'.",
            hint="With curl, add: -H 'Content-Type: application/x-ndjson' --data-binary @FILE",
        )
    lines = body_lines(request, engine.settings.limits)
    upload = Upload(
        engine.writable_home(),
        entry.name,
        {**where_of(entry), "ack": ack},
        idempotency_key,
        engine.pressure,
        _length(request),
    )
    task = await upload.receive(lines)
    return await _answer(engine, task, wait_s=wait if ack == "searchable" else 0.0)


@router.post(
    "/v1/indexes/{name}/documents/delete",
    tags=["documents"],
    summary="Delete documents",
    response_model=TaskInfo,
    responses={
        202: {"model": TaskInfo, "description": "Acknowledged; the task goes on."},
        **problems(*OF_TASKS, *OF_INDEX, *OF_FILTERS, "index_mounted"),
    },
)
@needs("write")
async def delete_documents(
    name: IndexName, body: DeleteRequest, request: Request, wait: Wait = 30.0
) -> Response:
    """By id, or all that a filter selects. Ids that are not there are counted out."""
    engine = engine_of(request)
    engine.writable_home()
    entry = await run_sync(_writable, request, name)
    wanted: dict[str, Any] = dict(where_of(entry))
    if body.ids is None:
        collection = await run_sync(opened, request, entry)
        check(collection.index, body.filter)
        wanted["filter"] = body.filter
    elif empty := [at for at, doc_id in enumerate(body.ids) if not doc_id]:
        raise ProblemError("invalid_request", f"/ids/{empty[0]} is empty.")
    else:
        wanted["ids"] = [doc_id for doc_id in body.ids if is_doc_id(doc_id)]
    task = await run_sync(submit, engine.writable_home(), "delete", entry.name, wanted)
    return await _answer(engine, task, wait_s=wait)


@router.get(
    "/v1/indexes/{name}/documents/{id:any}",
    tags=["documents"],
    summary="Read one document",
    response_model=StoredDocument,
    responses=problems(*OF_INDEX, "unknown_document"),
)
@needs("search")
def read_document(name: IndexName, id: DocumentId, request: Request) -> Response:
    """The stored fields of a document, as they were given, and its version as the ETag."""
    index = collection_of(request, name).index
    while True:
        version = index.version(id) if is_doc_id(id) else None
        try:
            document = None if version is None else index.get(id)
        except UsageError:  # it was deleted between the look-up and the reading
            document = None
        if document is None:
            raise _unknown(name, id)
        if index.version(id) == version:  # or it was replaced meanwhile: read again
            break
    fields = orjson.Fragment(orjson.dumps(document.fields))  # which may be as deep as JSON goes
    body = {"index": name, "id": id, "version": version, "fields": fields}
    return json(body, headers={"ETag": f'"{version}"'})


@router.put(
    "/v1/indexes/{name}/documents/{id:any}",
    tags=["documents"],
    summary="Write one document",
    response_model=WrittenDocument,
    responses=problems(
        *OF_TASKS,
        *OF_INDEX,
        "index_mounted",
        "version_conflict",
        "backlog_full",
        "index_busy",
        "rejected",
        "task_canceled",
    ),
)
@needs("write")
async def write_document(
    name: IndexName,
    id: DocumentId,
    body: DocumentBody,
    request: Request,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Create or replace one document; it is searchable when this is answered.

    With If-Match only a document of that version is replaced, with `If-Match: *` one of any
    version, with `If-None-Match: *` only a new one is created; otherwise 412.
    """
    engine = engine_of(request)
    engine.writable_home()
    entry = await run_sync(_writable, request, name)
    line = orjson.dumps({"id": id, **body.model_dump(exclude_none=True)})
    expected = _expected(id, if_match, if_none_match)
    if not is_doc_id(id):  # the worker refuses it as it does in an upload
        expected = {}

    async def lines() -> Any:
        yield [line]

    upload = Upload(
        engine.writable_home(),
        entry.name,
        {**where_of(entry), "expect": expected},
        None,
        engine.pressure,
        len(line),
    )
    task = await upload.receive(lines())
    task = await finished(engine, task, wait_s=300.0)
    _raise_failed(task)
    index = (await run_sync(opened, request, entry)).index
    generation = (task.details or {}).get("generation")
    # As of the commit that wrote it: the newest may be somebody else's, whom the next If-Match of
    # this client would overwrite unseen.
    version = await run_sync(partial(index.version, id, at=generation))
    empty = bool((task.details or {}).get("empty"))
    written = {
        "index": name,
        "id": id,
        "version": version,
        "generation": generation,
        "empty": empty,
    }
    return json(written, headers={"ETag": f'"{version}"'})


@router.delete(
    "/v1/indexes/{name}/documents/{id:any}",
    tags=["documents"],
    summary="Delete one document",
    status_code=204,
    responses=problems(
        *OF_TASKS,
        "index_mounted",
        "unknown_document",
        "invalid_request",
        "version_conflict",
        "index_busy",
        "task_canceled",
    ),
)
@needs("write")
async def delete_document(
    name: IndexName, id: DocumentId, request: Request, if_match: IfMatch = None
) -> Response:
    """204 when it is gone for every search that begins now."""
    engine = engine_of(request)
    engine.writable_home()
    entry = await run_sync(_writable, request, name)
    if not is_doc_id(id):
        raise _unknown(name, id)
    wanted = {**where_of(entry), "ids": [id], "expect": _expected(id, if_match, None)}
    task = await run_sync(submit, engine.writable_home(), "delete", entry.name, wanted)
    task = await finished(engine, task, wait_s=300.0)
    _raise_failed(task)
    if not (task.details or {}).get("deleted"):
        raise _unknown(name, id)
    return Response(status_code=204)


def _writable(request: Request, name: str) -> Entry:
    """The index whose documents a request changes.

    Raises what `entry_of` raises, and the problem `index_mounted` where those that were named on
    the command line are only read.
    """
    entry = entry_of(request, name, "write")
    if entry.mounted and engine_of(request).settings.read_only:
        raise ProblemError(
            "index_mounted",
            f"Index '{entry.name}' was named on the command line, and this server only reads such "
            "indexes.",
            hint="Start it without --read-only, or create an index of the data directory.",
        )
    return entry


def _expected(doc_id: str, if_match: str | None, if_none_match: str | None) -> Mapping[str, Any]:
    """What the writer must find, by document id."""
    if if_none_match is not None:
        if if_none_match.strip() != "*" or if_match is not None:
            raise ProblemError(
                "invalid_request", "If-None-Match takes `*` alone here, and not beside If-Match."
            )
        return {doc_id: None}
    if if_match is None:
        return {}
    if if_match.strip() == "*":
        return {doc_id: "any"}
    found = _ETAG.fullmatch(if_match.strip())
    if not found:
        raise ProblemError(
            "invalid_request",
            f'If-Match is {if_match[:60]!r}, wanted one ETag as GET gave it, such as "17".',
        )
    return {doc_id: int(found[1])}


def _raise_failed(task: Task) -> None:
    """What ended the task of a single document, as the problem of this request."""
    details = task.details or {}
    if task.state == "failed" and task.error is not None:
        code = task.error["code"] if task.error["code"] in KINDS else "internal_error"
        raise ProblemError(code, task.error["detail"], hint=task.error["hint"])
    if task.state == "canceled":
        raise ProblemError(
            "task_canceled", f"Task {task.id} was canceled first; nothing was written."
        )
    if details.get("rejects"):
        reject = details["rejects"][0]
        raise ProblemError("rejected", f"The document was refused: {reject['detail']}.")
    if not task.over:
        raise ProblemError(
            "index_busy",
            f"The change is durable, but not searchable yet; it is task {task.id}.",
            hint=f"GET /v1/tasks/{task.id} tells more.",
            headers={"Retry-After": "1"},
        )


async def _answer(engine: Engine, task: Task, *, wait_s: float) -> Response:
    task = await finished(engine, task, wait_s=wait_s)
    if task.state == "failed":
        _raise_failed(task)
    details = task.details or {}
    if task.state == "succeeded" and details.get("rejected") and not details.get("indexed"):
        raise ProblemError(
            "rejected",
            f"All {details['rejected']:,} lines were rejected; the first: "
            f"{details['rejects'][0]['detail']}.",
            hint=f"GET /v1/tasks/{task.id}/rejects lists them.",
            extensions={"task": task.id},
        )
    status = 200 if task.over else 202
    return json(shown(task), status, headers={"Location": f"/v1/tasks/{task.id}"})


def _unknown(name: str, doc_id: str) -> ProblemError:
    return ProblemError(
        "unknown_document",
        f"Index '{name}' holds no document with the id '{doc_id[:100]}'.",
        hint="Ids are the caller's own strings; percent-encode what addresses reserve.",
    )


def _length(request: Request) -> int:
    """What the client says its body is long, 0 where it does not."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0
