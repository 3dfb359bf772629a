"""What one client may ask of the server: every bound in one place, shown by /v1/info.

Bounds that follow from the engine stay with what they bound: term numbers and `limit` in
`wire/search.py`, depth and clauses of filters in `index/filtering.py`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from lsr.errors import UsageError

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes are counted on the wire and again after decompression.

    `ratio` bounds how much larger a body may become, once it is past 1 MiB. A client may keep the
    server waiting for its body for `body_wait_s` seconds, plus one for each `body_rate` bytes that
    came. `request_s` bounds the scoring of one request. `concurrent` requests are worked on at a
    time, by `threads` threads. `key_rate` is requests per second and key, each process counting for
    itself; None bounds nothing, and `key_burst` may come at once. An answer is made of at most
    `answer_bytes` of stored fields.

    >>> Limits(body_bytes=4096).as_info()["body_bytes"]
    4096
    """

    body_bytes: int = MIB
    documents_bytes: int = 4096 * MIB
    line_bytes: int = 8 * MIB
    ratio: int = 200
    body_wait_s: float = 30.0
    body_rate: int = 16 << 10
    request_s: float = 30.0
    concurrent: int = 128
    threads: int = 40
    key_rate: float | None = None
    key_burst: int = 20
    header_bytes: int = 32 << 10
    streams: int = 64
    answer_bytes: int = 64 * MIB

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not value > 0:
                raise UsageError(f"limits.{name} = {value}: wanted more than 0")

    def as_info(self) -> Mapping[str, int | float | None]:
        """As /v1/info tells them."""
        return asdict(self)
