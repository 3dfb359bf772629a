"""Which exception becomes which problem, for everything that can go wrong below the middleware."""

import logging
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from lsr.errors import DiskFull, IndexFailure, ShardMissing

from .problems import (
    KINDS,
    MAX_FAULTS,
    Fault,
    ProblemError,
    code_of_status,
    did_you_mean,
    pointer,
    problem_response,
    shown,
)
from .wanted import wanted

log = logging.getLogger("lsr.service")


def install(app: FastAPI) -> None:
    """Make every error of this app a problem."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(IndexFailure, _index_failure)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(request.scope, error)


async def _http(request: Request, error: Exception) -> Response:
    """Errors of the router and of the body limit, which know a status only."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # whatever else the framework met while it read the body
        problem = ProblemError(
            "malformed_json",
            "The body is not JSON in UTF-8, is nested too deeply, or has a number of thousands of "
            "digits.",
        )
        return problem_response(request.scope, problem)
    code = code_of_status(error.status_code)
    hints = {
        "not_found": "GET /openapi.json lists every address.",
        "body_too_large": "GET /v1/info tells the limits.",
    }
    headers = error.headers
    if error.status_code == 405:  # the router names the methods of one of several routes
        headers = {**(headers or {}), "Allow": ", ".join(_methods_at(request))}
    problem = ProblemError(code, KINDS[code].meaning, hint=hints.get(code), headers=headers)
    return problem_response(request.scope, problem)


def _methods_at(request: Request) -> list[str]:
    """Every method that the address of a request takes."""
    found = {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] == Match.FULL
    }
    return sorted(found | {"HEAD"} if "GET" in found else found)


async def _index_failure(request: Request, error: Exception) -> Response:
    """A damaged or missing file met while answering; its path goes to the log only."""
    request_id = request.scope["state"]["request_id"]
    log.error("request %s: %s: %s", request_id, type(error).__name__, error)
    return problem_response(request.scope, problem_of_failure(error))


def problem_of_failure(error: Exception) -> ProblemError:
    """What a client may know of an `IndexFailure`: no path."""
    if isinstance(error, DiskFull):
        return ProblemError(
            "insufficient_storage",
            "The disk is full, so nothing can be written; searches go on.",
            hint="Whoever runs the server must make room; then send the request again.",
            headers={"Retry-After": "60"},
        )
    if isinstance(error, ShardMissing):
        return ProblemError(
            "shard_missing",
            f"These shards of the index do not answer: {', '.join(map(str, error.shards))}.",
            hint='Try again, or ask for what the others find with "on_missing_shard": "partial".',
            headers={"Retry-After": "1"},
        )
    detail = f"The index cannot be read ({type(error).__name__})."
    return ProblemError("index_unavailable", detail)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(request.scope, problem_of_validation(request, error))


def problem_of_validation(request: Request, error: RequestValidationError) -> ProblemError:
    """What the framework found wrong with the parameters or the body of a request."""
    errors = error.errors()
    if errors[0]["type"] == "json_invalid":
        reason = errors[0]["ctx"]["error"]
        return ProblemError(
            "malformed_json", f"The body is not JSON: {reason}, character {errors[0]['loc'][-1]}."
        )
    outside = [one for one in errors if one["loc"][0] in ("query", "path", "header")]
    if outside:
        return _problem_of_parameters(outside)
    if not isinstance(error.body, Mapping):
        got = "is missing" if error.body is None else "is not a JSON object"
        return ProblemError(
            "invalid_request",
            f"The body {got}.",
            hint="See the examples in /docs.",
            faults=[Fault("", "wanted a JSON object")],
        )
    return problem_of_faults(errors, error.body, _body_model(request.scope["endpoint"]))


def _problem_of_parameters(errors: Sequence[Mapping[str, Any]]) -> ProblemError:
    """Faults outside the body; pointers of their faults lead to `/query/limit`, say."""
    faults = [
        Fault(pointer(one["loc"]), wanted(one), shown(one.get("input")))
        for one in errors[:MAX_FAULTS]
    ]
    kind, name = errors[0]["loc"][:2]
    return ProblemError(
        "invalid_request",
        f"The {kind} parameter '{name}': {faults[0].message}.",
        hint="The reference at /docs lists them.",
        faults=faults,
    )


def problem_of_faults(
    errors: Sequence[Any], body: Any, model: type[BaseModel] | None
) -> ProblemError:
    """What pydantic found wrong in `body`, as one problem; each `loc` begins with "body"."""
    # A misspelt field is often also a missing one: name the cause before the effect.
    errors = sorted(errors, key=lambda one: one["type"] != "extra_forbidden")
    faults = [_fault(one, body, model) for one in errors[:MAX_FAULTS]]
    first = errors[0]
    unknown = first["type"] == "extra_forbidden"
    hint = None
    if unknown and faults[0].allowed:
        name = str(first["loc"][-1])
        known = faults[0].allowed
        hint = did_you_mean(name, known) or f"Known here: {', '.join(known)}."
    elif isinstance(first.get("input"), str) and first["loc"][1:] == ("query",):
        hint = 'Give {"query": {"text": "..."}}.'
    more = f" There are {len(errors) - 1} more faults." if len(errors) > 1 else ""
    where = faults[0].pointer or "The body"
    return ProblemError(
        "unknown_field" if unknown else "invalid_request",
        f"{where}: {faults[0].message}.{more}",
        hint=hint,
        faults=faults,
    )


def _fault(one: Mapping[str, Any], body: Any, model: type[BaseModel] | None) -> Fault:
    """One error of pydantic as a place in the body and what is wrong there."""
    path = _path_in(body, one["loc"][1:], missing=one["type"] == "missing")
    if one["type"] == "extra_forbidden":
        known = _fields_at(model, path[:-1])
        return Fault(pointer(path), "unknown field", shown(one["input"]), known)
    return Fault(pointer(path), wanted(one), shown(one.get("input")))


def _path_in(body: Any, loc: Sequence[str | int], *, missing: bool) -> list[str | int]:
    """The parts of pydantic's location that exist in the body; it also names branches of unions."""
    path: list[str | int] = []
    here = body
    for part in loc:
        if isinstance(here, Mapping):
            exists = part in here
        else:
            exists = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if exists:
            here = here[part]
            path.append(part)
    if missing:
        path.append(loc[-1])
    return path


@lru_cache(maxsize=256)
def _body_model(endpoint: Callable[..., Any]) -> type[BaseModel] | None:
    """The model that an endpoint reads its body as."""
    for hint in typing.get_type_hints(endpoint).values():
        if isinstance(hint, type) and issubclass(hint, BaseModel):
            return hint
    return None


def _fields_at(model: type[BaseModel] | None, path: Sequence[str | int]) -> list[str]:
    """The names that a request may use at this place, under the fields on the way there."""
    for part in path:
        if model is None:
            return []
        by_name = {field.alias or name: field for name, field in model.model_fields.items()}
        if part in by_name:
            model = _model_in(by_name[str(part)].annotation)
    return [] if model is None else [f.alias or name for name, f in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model among the alternatives of a type, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in typing.get_args(annotation):
        if found := _model_in(part):
            return found
    return None
