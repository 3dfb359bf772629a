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

from .kinds import KINDS as KINDS  # everybody has it from here

MEDIA_TYPE = "application/problem+json"
CODES = "x-problem-codes"
"""Where the OpenAPI document lists the codes of a response for programs."""
MAX_FAULTS = 20
"""Faults listed in one answer: a vector may have thousands of bad weights, a reader needs few."""


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
