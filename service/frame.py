"""The frame round each request: an id, a bound on the body, an answer even to our own faults."""

import logging
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import KINDS, ProblemError, problem_response

log = logging.getLogger("lsr.service")

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Frame:
    """ASGI middleware, outermost but for the one of the framework that nothing reaches.

    A well-formed `X-Request-Id` is kept, any other replaced; it is in the answer's header, in each
    problem and in the log. The limit of the framework is not used because it answers bodies that
    declare too great a length in plain text, past every handler of errors.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, max_documents_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.max_documents_bytes = max_documents_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        n_received = 0
        # Documents come as a stream, never in memory whole, so they have a bound of their own.
        streamed = scope["method"] == "POST" and scope["path"].endswith("/documents")
        most = self.max_documents_bytes if streamed else self.max_body_bytes

        async def bounded() -> Message:
            nonlocal n_received
            message = await receive()
            if message["type"] == "http.request":
                n_received += len(message.get("body", b""))
                if n_received > most:
                    # The framework hands on HTTPException from inside its reading of a body, and
                    # nothing else.
                    raise HTTPException(413)
            return message

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                fields = MutableHeaders(raw=message.setdefault("headers", []))
                fields["X-Request-Id"] = request_id
                fields["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            if _declared_length(headers) > most:
                await problem_response(scope, _too_large(most))(scope, receive, framed)
            else:
                await self.app(scope, bounded, framed)
        except Exception:
            log.exception("request %s: %s %s failed", request_id, scope["method"], _path(scope))
            if status:
                raise  # half an answer is out; only closing the connection tells the client
            problem = ProblemError("internal_error", KINDS["internal_error"].meaning)
            await problem_response(scope, problem)(scope, receive, framed)


def _too_large(most: int) -> ProblemError:
    return ProblemError(
        "body_too_large",
        f"The body is larger than {most:,} bytes.",
        hint="/v1/info tells the limits of this server.",
    )


def _declared_length(headers: Headers) -> int:
    """Content-Length, 0 where it is absent; the server in front refuses what is no number."""
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


def _path(scope: Scope) -> str:
    """The path as it came, so that nothing in it can break a line of the log."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("ascii", "backslashreplace")
    return raw.decode("ascii", "backslashreplace")
