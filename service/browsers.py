"""What browsers must be told and what they must not do for pages of other sites.

A browser lets any page send simple requests to any address, this machine's loopback included, and
lets a page whose name is rebound to that address read the answers. So a request is refused that
comes to a foreign name, and one that could change something and comes from a foreign page.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from .problems import ProblemError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ASKED_HEADERS = (
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "X-API-Key",
    "X-Request-Id",
)
TOLD_HEADERS = ("ETag", "Location", "Retry-After", "Server-Timing", "X-Request-Id")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def answer_headers(*, shared: bool) -> tuple[tuple[bytes, bytes], ...]:
    """What every answer says unless its route says otherwise; `shared` where pages of other origins
    may use the API.
    """
    return (
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
        (b"cross-origin-resource-policy", b"cross-origin" if shared else b"same-origin"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"private, no-cache"),
    )


def refusal(
    method: str, headers: Headers, *, host_names: Sequence[str] | None, origins: Sequence[str]
) -> ProblemError | None:
    """The problem of a request that only a foreign page would send."""
    host = headers.get("host", "").lower()
    if host_names is not None and _without_port(host) not in host_names:
        return ProblemError(
            "foreign_host",
            f"This server is not called '{host[:100]}'.",
            hint="`lsr serve --host-name NAME` lets it go by another name.",
        )
    origin = headers.get("origin")
    if method in _SAFE or origin is None or origin in origins:
        return None
    if host and _host_of(origin) == host:
        return None
    return ProblemError(
        "foreign_origin",
        f"A page of '{origin[:100]}' sent this.",
        hint="`lsr serve --cors ORIGIN` allows pages of an origin to use the API.",
    )


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # such as http://[
        return ""


def _without_port(host: str) -> str:
    """
    >>> _without_port("[::1]:8000"), _without_port("localhost:8000"), _without_port("localhost")
    ('[::1]', 'localhost', 'localhost')
    """
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
