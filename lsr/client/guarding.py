"""Keys, as requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .steps import Request, Talk, address, call, said


@dataclass(frozen=True)
class KeyInfo:
    """A key without its secret; times in seconds since 1970."""

    id: str
    name: str
    scopes: tuple[str, ...]
    filter: Mapping[str, Any] | None
    created: float
    expires: float | None
    revoked: float | None
    state: str


@dataclass(frozen=True)
class NewKey:
    """A key as it is made. `key` is the secret: it is told this once, and not shown by repr."""

    id: str
    name: str
    scopes: tuple[str, ...]
    filter: Mapping[str, Any] | None
    created: float
    expires: float | None
    revoked: float | None
    state: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class KeyList:
    """All keys, the oldest first."""

    keys: tuple[KeyInfo, ...]


def create_key(
    name: str,
    scopes: Sequence[str] = ("search:*",),
    *,
    expires_in_s: float | None = None,
    filter: Mapping[str, Any] | None = None,
) -> Talk[NewKey]:
    """A key for what `scopes` allow, such as `search:docs-*`; after the first, every request needs
    one. `filter` holds in addition to that of each request.
    """
    body = said(name=name, scopes=list(scopes), expires_in_s=expires_in_s, filter=filter)
    return (yield from call(Request("POST", "/v1/keys", json=body), NewKey))


def list_keys() -> Talk[tuple[KeyInfo, ...]]:
    """All keys, also those that expired or were revoked, without their secrets."""
    return (yield from call(Request("GET", "/v1/keys", repeatable=True), KeyList)).keys


def revoke_key(id: str) -> Talk[KeyInfo]:
    """It opens nothing from now on."""
    return (yield from call(Request("DELETE", address("v1", "keys", id)), KeyInfo))
