"""The OpenAPI document: what the framework makes of the routes, with our problems in it.

A route names the codes of its own (`routes/answering.py`); what the gate may answer before its
handler runs follows from what the route needs and is added here. Each error lists its codes twice:
in its description for readers, under `x-problem-codes` for programs.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from .access import need_of
from .links import add_links
from .problems import CODES, KINDS, problem_answers
from .routes import ROUTERS
from .routes.encode import EmbedRoute
from .wire.problems import Problem

_SAFE = ("GET", "HEAD", "OPTIONS")
_OF_BODIES = (
    "bad_request",
    "body_too_slow",
    "malformed_body",
    "malformed_json",
    "unsupported_media_type",
    "invalid_request",
)
_BEFORE_ROUTES = ("foreign_host", "foreign_origin", "headers_too_large", "internal_error")
"""Answered in front of all routes, and so also before one that speaks another protocol."""


def codes_of_gate(route: APIRoute, method: str) -> set[str]:
    """What a request to this route may be answered before its handler runs, as guarding.py does."""
    need = need_of(route.endpoint)
    codes = {"foreign_host", "headers_too_large", "internal_error", "body_too_large"}
    codes.add("unknown_field")  # a parameter of the address that the route does not have
    if "{" in route.path_format:
        codes.add("bad_request")  # an address that is not UTF-8
    if method not in _SAFE:
        codes.add("foreign_origin")
    if route.body_field is not None and not need.streamed:
        codes.update(_OF_BODIES)
    if need.public:
        return codes
    codes |= {"invalid_key", "rate_limited", "index_unavailable"}  # keys lie in service.sqlite
    if not need.anonymous:
        codes.add("key_required")
    if not need.always:
        codes.add("too_busy")
    if need.action is not None or need.whole:
        codes.add("forbidden")
    if "{alias}" in route.path_format or ("{name}" in route.path_format and need.of == "index"):
        codes.add("invalid_name")
    return codes


def codes_of(route: APIRoute, method: str) -> set[str]:
    """All that a request to this route may be answered, as the document lists it."""
    codes = codes_of_gate(route, method)
    if isinstance(route, EmbedRoute):
        codes &= set(_BEFORE_ROUTES)
    for response in route.responses.values():
        codes.update(response.get(CODES, ()))
    return codes


def describe_problems(app: FastAPI) -> None:
    """Put our problems in the OpenAPI document in place of the framework's shape of error."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            for route, method in _routes():
                operation = document["paths"][route.path_format][method.lower()]
                if need_of(route.endpoint).public:
                    operation["security"] = []
                _add_problems(operation["responses"], route, method)
            add_links(document["paths"])
            components: dict[str, Any] = document["components"]["schemas"]
            components.pop("HTTPValidationError", None)
            components.pop("ValidationError", None)
            # The empty alternative: a server without keys asks for none.
            document["security"] = [{"bearer": []}, {"key": []}, {}]
            document["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
            shape = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            components.update(shape.pop("$defs"), Problem=shape)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _routes() -> Iterator[tuple[APIRoute, str]]:
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in sorted(route.methods or ()):
                yield route, method


def _add_problems(responses: dict[str, Any], route: APIRoute, method: str) -> None:
    """Each error of an operation with every code that it may have."""
    # The framework adds it to every route that has a parameter.
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    codes = codes_of(route, method)
    for status, answer in problem_answers([code for code in KINDS if code in codes]).items():
        known = responses.setdefault(str(status), {CODES: ()})
        description = answer["description"]
        if CODES not in known:  # beside an error of another protocol
            description = f"{known['description']}, or {description}"
        content = known.get("content", {}) | answer["content"]
        known |= {"description": description, CODES: answer[CODES], "content": content}
