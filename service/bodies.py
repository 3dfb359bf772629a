"""Reading bodies: decompressed within bounds, in lines.

Bytes are counted as they come, on the wire and after decompression, so that neither a large body
nor a small one that grows takes more memory than one piece of it.
"""

import zlib
from collections.abc import AsyncIterator

import zstandard
from starlette.requests import Request

from .problems import ProblemError

PIECE = 1 << 20


async def body_pieces(request: Request, *, max_bytes: int) -> AsyncIterator[bytes]:
    """The decompressed body, piece by piece; `max_bytes` bound it after decompression.

    Raises the problems `body_too_large`, `unsupported_media_type` and `malformed_body`.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    decoder = _decoder(encoding)
    n_bytes = 0
    async for raw in request.stream():
        for piece in decoder.feed(raw):
            n_bytes += len(piece)
            if n_bytes > max_bytes:
                raise ProblemError(
                    "body_too_large",
                    f"The body is larger than {max_bytes:,} bytes after decompression.",
                    hint="Send the documents in several requests.",
                )
            yield piece
    decoder.end()


async def body_lines(
    request: Request, *, max_bytes: int, max_line_bytes: int
) -> AsyncIterator[list[bytes]]:
    """The lines of an NDJSON body, some at a time, without empty ones.

    Raises what `body_pieces` raises, and `line_too_long`.
    """
    rest = b""
    async for piece in body_pieces(request, max_bytes=max_bytes):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > max_line_bytes or any(len(line) > max_line_bytes for line in lines):
            raise ProblemError(
                "body_too_large",
                f"A line is longer than {max_line_bytes:,} bytes.",
                hint="Each document is a line of its own: NDJSON.",
            )
        yield [line for line in lines if line.strip()]
    yield [rest] if rest.strip() else []


class _Identity:
    def feed(self, raw: bytes) -> list[bytes]:
        return [raw] if raw else []

    def end(self) -> None:
        pass


class _Gzip:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)

    def feed(self, raw: bytes) -> list[bytes]:
        pieces = []
        try:
            while raw:
                pieces.append(self._inflate.decompress(raw, PIECE))
                raw = self._inflate.unconsumed_tail
                if self._inflate.eof:
                    raw = self._inflate.unused_data
                    self._inflate = zlib.decompressobj(wbits=31)
        except zlib.error as error:
            raise _malformed("gzip") from error
        return pieces

    def end(self) -> None:
        pass


class _Zstandard:
    def __init__(self) -> None:
        self._inflate = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()

    def feed(self, raw: bytes) -> list[bytes]:
        try:
            return [self._inflate.decompress(raw)] if raw else []
        except zstandard.ZstdError as error:
            raise _malformed("zstd") from error

    def end(self) -> None:
        pass


def _decoder(encoding: str) -> _Identity | _Gzip | _Zstandard:
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
    )


def _malformed(encoding: str) -> ProblemError:
    return ProblemError("malformed_body", f"The body is not {encoding}, as it says it is.")
