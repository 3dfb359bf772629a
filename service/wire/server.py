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
    warnings: list[str] | None = Field(
        default=None, description="What an operator should look at although the index serves."
    )


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
    """What a request may not exceed. Bytes count on the wire and after decompression."""

    body_bytes: int
    documents_bytes: int = Field(description="Of a body of documents.")
    line_bytes: int = Field(description="Of one document.")
    ratio: int = Field(description="How much larger decompression may make a body.")
    body_wait_s: float = Field(description="How long the server waits for a body,")
    body_rate: int = Field(description="and a second more for so many bytes of it.")
    request_s: float = Field(description="How long a search may take.")
    concurrent: int = Field(description="Requests that are worked on at a time.")
    threads: int
    key_rate: float | None = Field(description="Requests a second and key; null: any number.")
    key_burst: int = Field(description="Requests of a key that may come at once.")
    header_bytes: int
    streams: int = Field(description="Streams of events open at a time.")
    answer_bytes: int = Field(description="Of stored fields that one answer is made of.")
    limit: int
    window: int = Field(description="offset + limit.")
    cursor_depth: int = Field(description="Hits that a cursor leads to.")
    timeout_ms: int
    query_terms: int
    filter_depth: int
    filter_clauses: int
    filter_values: int = Field(description="Of all `in` lists of a filter.")
    searches: int = Field(description="Of one multi-search.")
    texts: int = Field(description="Of one request to encode.")


class ServerInfo(Answer):
    """Which software answers, and within which limits."""

    name: Literal["lsr-search"]
    version: str
    api: Literal["v1"]
    versions: dict[str, str] = Field(description="Of Python and of the libraries in use.")
    limits: Limits
    indexes: list[str]
