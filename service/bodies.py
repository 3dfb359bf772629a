"""Reading bodies: decompressed within bounds, whole or in lines.

Bytes are counted as they come, on the wire and after decompression, so that neither a large body
nor a small one that grows takes more memory than one piece of it. Time is counted while the server
waits for the client, not while it works.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import zstandard
from starlette.requests import Request

from .limits import MIB, Limits
from .problems import ProblemError

PIECE = MIB
_STEP = 64 << 10
"""Bytes split into lines before others have their turn: a millisecond or two."""
FREE_BYTES = MIB
"""Bodies that stay below are not asked how well they compress: a short one may be all spaces."""
_ZSTD_WINDOW = 8 * MIB
"""What RFC 9659 asks of a server, and every level below --ultra keeps to."""
_ZSTD_SLICE = 256
"""Wire bytes given to zstd at a time. Four may stand for a block of 128 KiB, so this is 8 MiB."""
ENCODINGS = ("gzip", "zstd")


def unsupported_media_type(request: Request) -> ProblemError | None:
    """The problem of a body that is declared as something else than JSON, or as nothing.

    A page of another site can have a browser send text/plain, but not JSON, without asking first.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return None
    empty = (
        request.headers.get("content-length", "0") == "0"
        and "transfer-encoding" not in request.headers
    )
    if empty and not media_type:
        return None
    declared = f"is declared as '{media_type[:80]}'" if media_type else "has no Content-Type"
    return ProblemError(
        "unsupported_media_type",
        f"The body {declared}, wanted 'application/json'.",
        hint="With curl, add: -H 'Content-Type: application/json'",
    )


def check_declared(request: Request, max_bytes: int) -> None:
    """Raise the problem `body_too_large` for a body that says itself that it is."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes, "")


async def whole_body(request: Request, limits: Limits) -> bytes:
    """The decompressed body of a JSON request.

    Raises the problems `body_too_large`, `body_too_slow`, `unsupported_media_type`,
    `malformed_body`, and `bad_request` when the client leaves.
    """
    pieces = [piece async for piece in _pieces(request, limits, max_bytes=limits.body_bytes)]
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def body_lines(request: Request, limits: Limits) -> AsyncIterator[list[bytes] | int]:
    """The lines of an NDJSON body, some at a time, blank ones empty; or how many blank ones follow.

    Raises what `whole_body` raises; a line that is too long is a `body_too_large`.
    """
    begun: list[bytes] = []
    n_begun = 0
    async for piece in _in_turns(_pieces(request, limits, max_bytes=limits.documents_bytes)):
        if isinstance(piece, int):
            yield piece
            continue
        first, *others = piece.split(b"\n")
        begun.append(first)
        n_begun += len(first)
        lines = []
        if others:
            lines = [b"".join(begun), *others[:-1]]
            begun, n_begun = [others[-1]], len(others[-1])
        if n_begun > limits.line_bytes or any(len(line) > limits.line_bytes for line in lines):
            raise ProblemError(
                "body_too_large",
                f"A line is longer than {limits.line_bytes:,} bytes.",
                hint="Each document is a line of its own: NDJSON.",
            )
        if lines:
            yield [line if line.strip() else b"" for line in lines]
    last = b"".join(begun)
    if last.strip():
        yield [last]


async def _in_turns(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes | int]:
    """The same bytes, at most `_STEP` at a time, so that others have their turn; of many blank
    lines one, and how many more: half a megabyte of zstd may be a hundred million.
    """
    n_bytes = 0
    async for large in pieces:
        for at in range(0, len(large), _STEP):
            piece = large[at : at + _STEP]
            n_bytes += len(piece)
            if n_bytes >= _STEP:
                n_bytes = 0
                await asyncio.sleep(0)
            if len(piece) >= 1024 and b"\n" in piece and not piece.strip():
                yield b"\n"
                yield piece.count(b"\n") - 1
            else:
                yield piece


async def _pieces(request: Request, limits: Limits, *, max_bytes: int) -> AsyncIterator[bytes]:
    """The decompressed body, at most some MiB at a time, never an empty piece."""
    check_declared(request, max_bytes)
    decoder = _decoder(request.headers.get("content-encoding", "identity").strip().lower())
    n_wire = n_bytes = 0
    async for raw in _wire(request, limits):
        n_wire += len(raw)
        if n_wire > max_bytes:
            raise _too_large(max_bytes, "")
        for piece in decoder.feed(raw):
            n_bytes += len(piece)
            if n_bytes > max_bytes:
                raise _too_large(max_bytes, " after decompression")
            if n_bytes > max(FREE_BYTES, limits.ratio * n_wire):
                raise ProblemError(
                    "body_too_large",
                    f"The body grows more than {limits.ratio}-fold when it is decompressed.",
                    hint="Send it uncompressed.",
                )
            if piece:
                yield piece
    decoder.end()


async def _wire(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body as it comes."""
    waited = 0.0
    n_bytes = 0
    more = True
    while more:
        patience = limits.body_wait_s + n_bytes / limits.body_rate - waited
        started = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                message = await request.receive()
        except TimeoutError as error:
            raise ProblemError(
                "body_too_slow",
                f"The body did not come within {limits.body_wait_s:g} seconds, plus one for each "
                f"{limits.body_rate:,} bytes of it.",
                hint="Send it in smaller requests.",
                headers={"Connection": "close"},
            ) from error
        waited += time.monotonic() - started
        if message["type"] == "http.disconnect":
            raise ProblemError("bad_request", "The client left before the body had come.")
        raw: bytes = message.get("body", b"")
        n_bytes += len(raw)
        more = message.get("more_body", False)
        if raw:
            yield raw


class _Decoder(Protocol):
    def feed(self, raw: bytes) -> Iterator[bytes]:
        """What these bytes decompress to, in pieces of bounded size."""
        ...

    def end(self) -> None:
        """Raise the problem `malformed_body` where something is missing."""
        ...


class _Identity:
    def feed(self, raw: bytes) -> Iterator[bytes]:
        yield raw

    def end(self) -> None:
        pass


class _Gzip:
    """Any number of members one after another."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self._inside = False

    def feed(self, raw: bytes) -> Iterator[bytes]:
        while raw:
            self._inside = True
            try:
                piece = self._inflate.decompress(raw, PIECE)
            except zlib.error as error:
                raise _malformed("gzip") from error
            raw = self._inflate.unconsumed_tail
            if self._inflate.eof:
                raw = self._inflate.unused_data
                self._inflate = zlib.decompressobj(wbits=31)
                self._inside = False
            yield piece

    def end(self) -> None:
        if self._inside:
            raise _cut_off("gzip")


class _Zstandard:
    """Any number of frames one after another."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._inflate = self._decompressor.decompressobj()
        self._inside = False

    def feed(self, raw: bytes) -> Iterator[bytes]:
        for at in range(0, len(raw), _ZSTD_SLICE):
            given = raw[at : at + _ZSTD_SLICE]
            while given:
                self._inside = True
                try:
                    piece = self._inflate.decompress(given)
                except zstandard.ZstdError as error:
                    raise _malformed("zstd") from error
                given = b""
                if self._inflate.eof:
                    given = self._inflate.unused_data
                    self._inflate = self._decompressor.decompressobj()
                    self._inside = False
                yield piece

    def end(self) -> None:
        if self._inside:
            raise _cut_off("zstd")


def _decoder(encoding: str) -> _Decoder:
    if encoding in ("", "identity"):
        return _Identity()
    if encoding in ("gzip", "x-gzip"):
        return _Gzip()
    if encoding == "zstd":
        return _Zstandard()
    raise ProblemError(
        "unsupported_media_type",
        f"The body is encoded as {encoding[:40]!r}.",
        hint="Content-Encoding may be gzip, zstd or absent.",
        headers={"Accept-Encoding": ", ".join(ENCODINGS)},
    )


def _malformed(encoding: str) -> ProblemError:
    return ProblemError("malformed_body", f"The body is not {encoding}, as it says it is.")


def _too_large(max_bytes: int, when: str) -> ProblemError:
    return ProblemError(
        "body_too_large",
        f"The body is larger than {max_bytes:,} bytes{when}.",
        hint="/v1/info tells the limits of this server.",
    )


def _cut_off(encoding: str) -> ProblemError:
    return ProblemError(
        "malformed_body",
        f"The body ends early, inside its {encoding} data.",
        hint="Send it again, whole.",
    )
