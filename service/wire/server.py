"""The server itself: health, versions, limits."""

from typing import Literal

from pydantic import Field

from .base import Answer


class Live(Answer):
    """The process answers."""

    status: Literal["alive"]


class Check(Answer):
    """One thing that must hold before the server is ready."""

    index: str
    state: Literal["opening", "ready", "failed"]
    reason: str | None = None


class Ready(Answer):
    """Every index is open."""

    status: Literal["ready"]
    checks: list[Check]


class Limits(Answer):
    """What a request may not exceed."""

    body_bytes: int
    limit: int
    query_terms: int


class ServerInfo(Answer):
    """Which software answers, and within which limits."""

    name: Literal["lsr-search"]
    version: str
    api: Literal["v1"]
    versions: dict[str, str] = Field(description="Of Python and of the libraries in use.")
    limits: Limits
    indexes: list[str]
