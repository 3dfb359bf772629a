"""The frame round each request: an id, the headers of every answer, an answer even to our own
faults.
"""

import logging
import re
import secrets
from collections.abc import Sequence
from urllib.parse import unquote, unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .browsers import answer_headers, refusal
from .problems import KINDS, ProblemError, problem_response

log = logging.getLogger("lsr.service")

_WHOLE_ADDRESS = re.compile(rb"(?i:https?)://([^/]+)(/.*|)")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Frame:
    """ASGI middleware round the app.

    A well-formed `X-Request-Id` is kept, any other replaced; it is in the answer's header, in each
    problem and in the log. `host_names` are those the server goes by, None for any; pages of
    `origins` may use the API.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host_names: Sequence[str] | None = None,
        origins: Sequence[str] = (),
        header_bytes: int,
    ) -> None:
        self.app = app
        self.header_bytes = header_bytes
        self.host_names = host_names
        self.origins = origins
        self._headers = answer_headers(shared=bool(origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = _in_origin_form(scope)
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        begun = False
        is_head = scope["method"] == "HEAD"
        # An answer to HEAD is that to GET without its body: probes of load balancers ask so.
        asked = {**scope, "method": "GET"} if is_head else scope

        async def framed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                fields = list(message.get("headers", []))
                said = {name for name, _ in fields}
                fields += [pair for pair in self._headers if pair[0] not in said]
                fields.append((b"x-request-id", request_id.encode("ascii")))
                message["headers"] = fields
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            refused = (
                self._oversized(scope)
                or _unreadable(scope)
                or refusal(
                    scope["method"], headers, host_names=self.host_names, origins=self.origins
                )
            )
            if refused is not None:
                await problem_response(scope, refused)(scope, receive, framed)
            else:
                await self.app(asked, receive, framed)
        except Exception:
            log.exception("request %s: %s %s failed", request_id, scope["method"], _path(scope))
            if begun:
                raise  # half an answer is out; only closing the connection tells the client
            problem = ProblemError("internal_error", KINDS["internal_error"].meaning)
            await problem_response(scope, problem)(scope, receive, framed)

    def _oversized(self, scope: Scope) -> ProblemError | None:
        """The server in front bounds headers that come in pieces, not those that come at once."""
        address = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if address + sum(len(n) + len(v) for n, v in scope["headers"]) <= self.header_bytes:
            return None
        return ProblemError(
            "headers_too_large",
            f"Address and headers have more than {self.header_bytes:,} bytes.",
            hint="/v1/info tells the limits of this server.",
        )


def _in_origin_form(scope: Scope) -> Scope:
    """The request with a path as its target, of one that gives a whole address, as to a proxy; the
    host in the address is then the one that counts (RFC 9112, 3.2.2).
    """
    raw: bytes = scope.get("raw_path") or b""
    whole = _WHOLE_ADDRESS.fullmatch(raw)
    if whole is None:
        return scope
    host, path = whole.groups()
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope,
        "raw_path": path or b"/",
        "path": unquote(path.decode("ascii")) or "/",
        "headers": [(b"host", host), *headers],
    }


def _unreadable(scope: Scope) -> ProblemError | None:
    """Of an address that is not UTF-8 nobody can tell which document or index it names: several
    would be one.
    """
    try:
        unquote_to_bytes(scope.get("raw_path") or scope["path"]).decode()
    except UnicodeDecodeError:
        return ProblemError(
            "bad_request", "The address is not UTF-8.", hint="Percent-encode the bytes of UTF-8."
        )
    return None


def _path(scope: Scope) -> str:
    """The path as it came, so that nothing in it can break a line of the log."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("ascii", "backslashreplace")
    return raw.decode("ascii", "backslashreplace")
