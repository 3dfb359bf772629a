"""One shape for every error: RFC 9457 problem details with a stable code, a hint and a request id.

    {"type": "/problems/unknown-index", "title": "Unknown index", "status": 404,
     "code": "unknown_index", "detail": "There is no index 'papres'.",
     "instance": "/v1/indexes/papres/search", "errors": [],
     "hint": "Did you mean 'papers'?", "request_id": "5b0c6e1f2a3d4e5f"}

A body never holds a stack trace, a file path or a message of a library: what is logged beside the
request id does. Which exception becomes which problem is the business of `errors.py`.
"""

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Scope

from lsr.errors import LsrError

MEDIA_TYPE = "application/problem+json"
CODES = "x-problem-codes"
"""Where the OpenAPI document lists the codes of a response for programs."""
MAX_FAULTS = 20
"""Faults listed in one answer: a vector may have thousands of bad weights, a reader needs few."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: what the status and the title are, what it means, what to do about it."""

    status: int
    title: str
    meaning: str


KINDS: Mapping[str, Kind] = {
    "malformed_json": Kind(400, "Malformed JSON", "The body is not a JSON text."),
    "malformed_body": Kind(400, "Malformed body", "The body is not encoded as it says it is."),
    "bad_request": Kind(400, "Bad request", "The request could not be read."),
    "key_required": Kind(
        401, "Key required", "The server has keys, so every request needs one; see `hint`."
    ),
    "invalid_key": Kind(401, "Invalid key", "The key is unknown, has expired or was revoked."),
    "forbidden": Kind(403, "Forbidden", "The key has no scope for this."),
    "foreign_origin": Kind(
        403,
        "Foreign origin",
        "A page of another site made the browser send this; the server was not told to allow it.",
    ),
    "not_found": Kind(404, "No such address", "No route of this server has this address."),
    "unknown_index": Kind(404, "Unknown index", "No index of this name is served here."),
    "unknown_document": Kind(404, "Unknown document", "The index holds no document of this id."),
    "unknown_task": Kind(404, "Unknown task", "No task has this number."),
    "unknown_alias": Kind(404, "Unknown alias", "No alias has this name."),
    "unknown_judged": Kind(
        404, "Unknown judged queries", "No judged queries of this name lie in the data directory."
    ),
    "unknown_snapshot": Kind(
        404, "Unknown snapshot", "No snapshot of this name lies in the server's data directory."
    ),
    "unknown_encoder": Kind(
        404, "Unknown encoder", "No encoder of this name lies in the server's data directory."
    ),
    "unknown_key": Kind(404, "Unknown key", "No key has this id."),
    "invalid_name": Kind(
        404, "Invalid name", "No index, alias or snapshot can have the name in the address."
    ),
    "unknown_problem": Kind(404, "Unknown problem", "No problem has this name."),
    "method_not_allowed": Kind(
        405, "Method not allowed", "The address exists, and takes other methods: see `Allow`."
    ),
    "body_too_slow": Kind(
        408, "Body too slow", "The body did not come as fast as the server is willing to wait."
    ),
    "no_data_directory": Kind(
        409,
        "No data directory",
        "The server was started without --data, so it only reads the indexes it was given.",
    ),
    "origins_unavailable": Kind(
        409,
        "Origins unavailable",
        "Nothing here can read the document again and tell which words gave it its terms.",
    ),
    "index_exists": Kind(409, "Index exists", "An index or an alias has this name already."),
    "alias_exists": Kind(409, "Alias exists", "The name means an index already."),
    "alias_changed": Kind(409, "Alias changed", "The alias was moved while it was measured."),
    "gate_failed": Kind(
        409,
        "Gate failed",
        "The new index answers the judged queries worse than was allowed; nothing was changed.",
    ),
    "snapshot_damaged": Kind(
        409, "Snapshot damaged", "A byte of the snapshot is not what its manifest says."
    ),
    "rebuild_failed": Kind(
        409, "Rebuild failed", "No new version was made; the index is as it was."
    ),
    "rollback_failed": Kind(
        409, "Rollback failed", "The earlier version could not be given what came since."
    ),
    "task_canceled": Kind(
        409, "Task canceled", "The change was canceled, or its index deleted, before it was done."
    ),
    "nothing_to_roll_back": Kind(
        409, "Nothing to roll back", "There is no earlier version to go back to."
    ),
    "index_in_use": Kind(409, "Index in use", "An alias means this index."),
    "index_mounted": Kind(
        409,
        "Index mounted",
        "The index was named on the command line, so it cannot be deleted here.",
    ),
    "idempotency_conflict": Kind(
        409, "Idempotency conflict", "The Idempotency-Key was used for another request before."
    ),
    "version_conflict": Kind(
        412,
        "Version conflict",
        "The document is not of the version that If-Match or If-None-Match asks for.",
    ),
    "body_too_large": Kind(
        413, "Body too large", "The body has more bytes than this server accepts."
    ),
    "unsupported_media_type": Kind(
        415,
        "Unsupported media type",
        "Bodies are JSON, and must say so: `Content-Type: application/json`. They may be "
        "compressed: `Content-Encoding: gzip` or `zstd`.",
    ),
    "foreign_host": Kind(
        421, "Foreign host", "The server does not go by the name that the request was sent to."
    ),
    "invalid_scope": Kind(422, "Invalid scope", "A scope is ACTION:PATTERN; see `hint`."),
    "invalid_key_request": Kind(422, "Invalid key request", "No such key can be made."),
    "invalid_request": Kind(
        422, "Invalid request", "The body is JSON, but a value in it is not what was wanted there."
    ),
    "unknown_field": Kind(
        422, "Unknown field", "The body has a field that this request does not know."
    ),
    "invalid_query": Kind(
        422, "Invalid query", "The query cannot mean anything to the index that it was sent to."
    ),
    "query_too_long": Kind(
        422, "Query too long", "The query has more terms than scores have room for."
    ),
    "invalid_cursor": Kind(
        422, "Invalid cursor", "The cursor is none of this server's, or of another request."
    ),
    "cursor_expired": Kind(
        410, "Cursor expired", "The commit that the cursor belongs to is no longer kept."
    ),
    "cancelled": Kind(
        499, "Cancelled", "The client closed the connection before the answer was ready."
    ),
    "no_document_encoder": Kind(
        422,
        "No encoder for documents",
        "The index can read queries only: the network that reads documents is elsewhere.",
    ),
    "no_encoder": Kind(
        422,
        "No encoder for queries",
        "The index was built from vectors, so it cannot read text or tokens; send a vector.",
    ),
    "rejected": Kind(
        422, "No document accepted", "None of the lines is a document that the index takes."
    ),
    "unknown_filter_field": Kind(
        422,
        "Unknown filter field",
        "Only fields that were declared when the index was built can be filtered by.",
    ),
    "invalid_filter": Kind(
        422, "Invalid filter", "A filter's condition does not suit the declared kind of its field."
    ),
    "backlog_full": Kind(
        429,
        "Backlog full",
        "More acknowledged documents wait to become searchable than this server lets wait.",
    ),
    "headers_too_large": Kind(
        431, "Headers too large", "Address and headers have more bytes than this server accepts."
    ),
    "too_busy": Kind(
        429, "Too busy", "The server works on as many requests as it can; come back later."
    ),
    "rate_limited": Kind(429, "Rate limited", "The key makes more requests than it may."),
    "internal_error": Kind(
        500,
        "Internal error",
        "A fault of the server, not of the request. Its log tells more beside the request id.",
    ),
    "not_ready": Kind(
        503, "Not ready", "The server is still opening its indexes, or could not open one."
    ),
    "deadline_exceeded": Kind(
        503, "Deadline exceeded", "The search took longer than the server lets any request take."
    ),
    "index_unavailable": Kind(
        503,
        "Index unavailable",
        "The index is damaged or cannot be read. The server's log says why; `lsr doctor` examines "
        "what lies on its disk.",
    ),
    "index_busy": Kind(
        503,
        "Index busy",
        "Documents of the answer were replaced again and again while it was put together.",
    ),
    "insufficient_storage": Kind(
        507,
        "Insufficient storage",
        "The disk is nearly full, so documents are not taken in; searches go on.",
    ),
}
"""Every code this server sends. Clients may rely on code and status; texts may improve."""

_CODE_OF_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One place of the request that is wrong: a JSON pointer into the body, what is wrong there."""

    pointer: str
    message: str
    value: bool | int | float | str | None = None
    allowed: Sequence[str] | None = None


class ProblemError(LsrError):
    """Raise it anywhere below a route to answer with a problem of this code."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        hint: str | None = None,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.faults = faults
        self.headers = headers or {}
        self.extensions = extensions or {}


def type_of(code: str) -> str:
    """Address of the page that explains a code.

    >>> type_of("unknown_index")
    '/problems/unknown-index'
    """
    return f"/problems/{code.replace('_', '-')}"


def code_of_status(status: int) -> str:
    """The code for an error that only has a status, such as those of the router."""
    return _CODE_OF_STATUS.get(status, "internal_error" if status >= 500 else "bad_request")


def problem_answers(codes: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """The responses of an OpenAPI operation that answers with these codes, by status.

    >>> problem_answers(["unknown_index"])[404]["description"]
    'Problem `unknown_index`'
    """
    by_status: dict[int | str, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(KINDS[code].status, []).append(code)
    shape = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {
            "description": "Problem `" + "`, `".join(found) + "`",
            "content": {MEDIA_TYPE: shape},
            CODES: found,
        }
        for status, found in by_status.items()
    }


def problem_response(scope: Scope, problem: ProblemError) -> Response:
    """The answer that tells `problem`, for the request of `scope`."""
    status = KINDS[problem.code].status
    if (seen := scope.get("state", {}).get("observation")) is not None:
        seen.problem = problem.code
    text = problem_json(scope, problem)
    return Response(text, status, headers=dict(problem.headers), media_type=MEDIA_TYPE)


def problem_json(scope: Scope, problem: ProblemError) -> str:
    """The problem details of a request."""
    kind = KINDS[problem.code]
    body = {
        "type": type_of(problem.code),
        "title": kind.title,
        "status": kind.status,
        "code": problem.code,
        "detail": problem.detail,
        "instance": quote(scope.get("path", ""), safe="/:@!$&'()*+,;=~-._"),
        "errors": [
            {key: value for key, value in asdict(fault).items() if value is not None}
            for fault in problem.faults
        ],
        "hint": problem.hint,
        "request_id": scope.get("state", {}).get("request_id"),
        **problem.extensions,
    }
    # The standard library escapes lone surrogates, which a hostile request may hold, orjson refuses
    # them.
    return json.dumps(body, ensure_ascii=True, allow_nan=False)


def did_you_mean(wrong: str, known: Iterable[str]) -> str | None:
    """A hint naming the most similar known name, None when nothing is similar.

    >>> did_you_mean("limt", ["limit", "filter"])
    "Did you mean 'limit'?"
    """
    close = difflib.get_close_matches(wrong[:100], list(known), n=1)
    return f"Did you mean '{close[0]}'?" if close else None


def shown(value: object) -> bool | int | float | str | None:
    """A scalar as an error may repeat it: short and valid in JSON; None for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return (
            value if abs(value) < 2**53 else f"{value:.3e}" if abs(value) < 1e300 else "too large"
        )
    if isinstance(value, str):
        return value if len(value) <= 100 else value[:100] + "…"
    return None


def pointer(parts: Iterable[str | int]) -> str:
    """RFC 6901.

    >>> pointer(["filter", "a/b", 0])
    '/filter/a~1b/0'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
