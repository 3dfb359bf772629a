"""Keys: make, list, revoke."""

import time
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from ..access import needs
from ..home import keys
from ..wire.keys import CreateKey, KeyInfo, KeyList, NewKey
from .answering import (
    OF_CHANGES,
    OF_HOME,
    engine_of,
    json,
    problems,
)
from .guarding import GuardedRoute

router = APIRouter(route_class=GuardedRoute)


@router.post(
    "/v1/keys",
    tags=["keys"],
    summary="Make a key",
    status_code=201,
    response_model=NewKey,
    responses=problems(*OF_CHANGES, "invalid_scope", "invalid_key_request"),
)
@needs("admin", of="server")
def create_key(body: CreateKey, request: Request) -> Response:
    """The secret is in the answer and nowhere else. After the first key every request needs one."""
    home = engine_of(request).writable_home()
    expires = None if body.expires_in_s is None else time.time() + body.expires_in_s
    scopes = [keys.Scope.read(text, at) for at, text in enumerate(body.scopes)]
    key, secret = keys.create(home, body.name, scopes, expires=expires, filter=body.filter)
    return json({"key": secret, **key.as_info(time.time())}, 201, {"Cache-Control": "no-store"})


@router.get(
    "/v1/keys",
    tags=["keys"],
    summary="List the keys",
    response_model=KeyList,
    responses=problems(*OF_HOME),
)
@needs("admin", of="server")
def list_keys(request: Request) -> Response:
    """All keys, also those that expired or were revoked, without their secrets."""
    now = time.time()
    found = keys.listed(engine_of(request).writable_home())
    return json({"keys": [key.as_info(now) for key in found]})


@router.delete(
    "/v1/keys/{id}",
    tags=["keys"],
    summary="Revoke a key",
    response_model=KeyInfo,
    responses=problems(*OF_CHANGES, "unknown_key"),
)
@needs("admin", of="server")
def revoke_key(
    id: Annotated[str, Path(description="The id of the key, not its secret.")], request: Request
) -> Response:
    """It is worth nothing from now on, in every process of the server."""
    key = keys.revoke(engine_of(request).writable_home(), id)
    return json(key.as_info(time.time()))
