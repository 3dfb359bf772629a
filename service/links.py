"""Which request makes sense after which answer, as links of the OpenAPI document.

For tools that walk through an API: what a request made, the next one reads, changes and deletes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Follow:
    """After an answer of `after` with one of these statuses, any of `then` may be asked.

    `parameters` and `body` are runtime expressions of OpenAPI: where the answer, or the request,
    says what the next one takes.
    """

    after: str
    statuses: Sequence[str]
    then: Sequence[str]
    parameters: Mapping[str, str]
    body: Mapping[str, str] | None = None


_INDEX = "/v1/indexes/{name}"
_DOCUMENT = _INDEX + "/documents/{id}"
_TASKED = ("200", "202")
_SAME_INDEX = {"path.name": "$request.path.name"}
_TASK = {"path.id": "$response.body#/id"}
_TASKS = ("GET /v1/tasks/{id}", "GET /v1/tasks/{id}/events", "POST /v1/tasks/{id}/cancel")
_OF_INDEXES = (
    f"GET {_INDEX}",
    f"PATCH {_INDEX}",
    f"DELETE {_INDEX}",
    f"POST {_INDEX}/documents",
    f"PUT {_DOCUMENT}",
    f"POST {_INDEX}/search",
    f"POST {_INDEX}/rebuild",
)

FOLLOWS = (
    Follow("POST /v1/indexes", ("201",), _OF_INDEXES, {"path.name": "$response.body#/name"}),
    Follow(
        "POST /v1/indexes",
        ("201",),
        ("POST /v1/snapshots",),
        {},
        body={"index": "$response.body#/name"},
    ),
    Follow(
        f"POST {_INDEX}/documents",
        _TASKED,
        (f"POST {_INDEX}/search", f"POST {_INDEX}/documents/delete", f"GET {_INDEX}"),
        _SAME_INDEX,
    ),
    Follow(f"POST {_INDEX}/documents", _TASKED, (*_TASKS, "GET /v1/tasks/{id}/rejects"), _TASK),
    Follow(f"POST {_INDEX}/documents/delete", _TASKED, _TASKS, _TASK),
    Follow(
        f"PUT {_DOCUMENT}",
        ("200",),
        (
            f"GET {_DOCUMENT}",
            f"PUT {_DOCUMENT}",
            f"DELETE {_DOCUMENT}",
            f"POST {_INDEX}/explain/{{id}}",
        ),
        {"path.name": "$response.body#/index", "path.id": "$response.body#/id"},
    ),
    Follow(
        f"POST {_INDEX}/search",
        ("200",),
        (f"GET {_DOCUMENT}", f"POST {_INDEX}/explain/{{id}}"),
        {**_SAME_INDEX, "path.id": "$response.body#/hits/0/id"},
    ),
    Follow(
        f"POST {_INDEX}/rebuild",
        _TASKED,
        (f"GET {_INDEX}/versions", f"POST {_INDEX}/rollback", f"DELETE {_INDEX}/versions"),
        _SAME_INDEX,
    ),
    Follow(f"POST {_INDEX}/rebuild", _TASKED, _TASKS, _TASK),
    Follow(
        "POST /v1/snapshots",
        ("200",),
        (
            "GET /v1/snapshots/{snapshot}",
            "POST /v1/snapshots/{snapshot}/verify",
            "POST /v1/snapshots/{snapshot}/restore",
            "DELETE /v1/snapshots/{snapshot}",
        ),
        {"path.snapshot": "$response.body#/details/snapshot"},
    ),
    Follow("POST /v1/snapshots", _TASKED, _TASKS, _TASK),
    Follow(
        "POST /v1/snapshots/{snapshot}/restore",
        ("200",),
        (f"GET {_INDEX}", f"POST {_INDEX}/search", f"DELETE {_INDEX}"),
        {"path.name": "$response.body#/index"},
    ),
    Follow(
        "POST /v1/aliases",
        ("200",),
        ("GET /v1/aliases/{alias}/history", "POST /v1/aliases/{alias}/rollback"),
        {"path.alias": "$response.body#/changes/0/alias"},
    ),
    Follow("POST /v1/keys", ("201",), ("DELETE /v1/keys/{id}",), {"path.id": "$response.body#/id"}),
)


def add_links(paths: Mapping[str, Mapping[str, Any]]) -> None:
    """Put `FOLLOWS` into the operations of an OpenAPI document."""
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    for follow in FOLLOWS:
        for status in follow.statuses:
            links = operations[follow.after]["responses"][status].setdefault("links", {})
            for label in follow.then:
                target = operations[label]
                link: dict[str, Any] = {
                    "operationId": target["operationId"],
                    "parameters": dict(follow.parameters),
                }
                if follow.body is not None:
                    link["requestBody"] = dict(follow.body)
                links[target["summary"].replace(" ", "-")] = link
