"""The server itself: health, versions, limits."""

from typing import Literal

from pydantic import Field

from .base import Answer


class Live(Answer):
    """The process answers."""

    status: Literal["alive"]


class Verified(Answer):
    """How much of an index has been read to its last byte since it was opened."""

    bytes: int
    of: int


class Check(Answer):
    """One index that must be open before the server is ready."""

    index: str
    state: Literal["opening", "ready", "failed"]
    step: str = Field(description="What is being done, such as 'loading the encoder'.")
    seconds: float | None = Field(description="Since when; null for one that waits for its turn.")
    verified: Verified | None = Field(description="Goes on while the index is served.")
    reason: str | None = None


class HomeCheck(Answer):
    """The data directory: what the worker has yet to do. Searches do not wait for it."""

    worker: Literal["running", "absent", "unknown"]
    waiting_tasks: int
    log_bytes: int


class Ready(Answer):
    """Every index is open."""

    status: Literal["ready"]
    checks: list[Check]
    data: HomeCheck | None = None


class Limits(Answer):
    """What a request may not exceed."""

    body_bytes: int
    limit: int
    window: int = Field(description="offset + limit.")
    cursor_depth: int = Field(description="Hits that a cursor leads to.")
    timeout_ms: int
    query_terms: int


class ServerInfo(Answer):
    """Which software answers, and within which limits."""

    name: Literal["lsr-search"]
    version: str
    api: Literal["v1"]
    versions: dict[str, str] = Field(description="Of Python and of the libraries in use.")
    limits: Limits
    indexes: list[str]
