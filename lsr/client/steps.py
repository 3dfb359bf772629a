"""Conversations with a server, free of input and output.

An operation of the client is a generator: it yields a `Request` or a `Sleep` and is sent what
came of it. So what is said, when it is repeated and how answers are read is written once, and the
blocking and the asynchronous client differ only in how they carry out a step.
"""

import json
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import httpx

from .errors import UnexpectedAnswer, Unreachable, refusal
from .reading import read

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: httpx.Headers
    body: bytes


@dataclass(frozen=True)
class Request:
    """One request. `repeatable`: sending it twice does what sending it once does.

    `listen` is fed each line of a streamed answer until it returns True. `timeout` in seconds
    replaces the client's own.
    """

    method: str
    path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    listen: Callable[[str], bool] | None = None
    timeout: float | None = None


@dataclass(frozen=True)
class Sleep:
    """Wait so long."""

    seconds: float


Outcome: TypeAlias = Answer | httpx.TransportError | None
Talk: TypeAlias = Generator[Request, Answer, T]
"""An operation that leaves repeating to `patient`."""
Steps: TypeAlias = Generator[Request | Sleep, Outcome, T]


@dataclass(frozen=True)
class Retry:
    """How long to insist: `attempts` in all, waiting a random part of `base_s`, doubled each time
    up to `cap_s`, on top of what the server asks for; a server that asks for more than
    `longest_s` seconds is not waited for.
    """

    attempts: int = 5
    base_s: float = 0.2
    cap_s: float = 10.0
    longest_s: float = 60.0

    def pause(self, attempt: int, asked_s: float, rng: random.Random) -> float:
        """Seconds before the attempt after the `attempt`-th, counted from 1.

        >>> 3.0 <= Retry().pause(2, 3.0, random.Random(1)) <= 3.4
        True
        """
        return asked_s + rng.uniform(0.0, min(self.cap_s, self.base_s * 2 ** (attempt - 1)))


def patient(talk: Talk[T], retry: Retry, rng: random.Random) -> Steps[T]:
    """The operation, its requests repeated where that is safe and may help."""
    try:
        request = next(talk)
        while True:
            try:
                answer = yield from _answered(request, retry, rng)
            except Unreachable as error:
                request = talk.throw(error)
            else:
                request = talk.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value


def _answered(request: Request, retry: Retry, rng: random.Random) -> Steps[Answer]:
    attempt = 0
    while True:
        attempt += 1
        outcome = yield request
        assert outcome is not None
        wait = _worth_waiting(request, outcome, retry)
        if wait is not None and attempt < retry.attempts:
            yield Sleep(retry.pause(attempt, wait, rng))
        elif isinstance(outcome, Answer):
            return outcome
        else:
            times = f" after {attempt} attempts" if attempt > 1 else ""
            reason = str(outcome) or type(outcome).__name__
            raise Unreachable(
                f"{request.method} {request.path}: no answer{times} ({reason}); is the server "
                "running, and is this its address?"
            ) from outcome


def _worth_waiting(request: Request, outcome: Outcome, retry: Retry) -> float | None:
    """Seconds that the server asks to wait before the request is repeated; None: do not."""
    if isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return 0.0  # nothing was sent
    if not isinstance(outcome, Answer):
        # Who listens knows better what was heard before the connection broke.
        return 0.0 if request.repeatable and request.listen is None else None
    # 429 is said before anything was done.
    if outcome.status == 429 or (outcome.status in (502, 503, 504) and request.repeatable):
        asked = retry_after(outcome.headers)
        return asked if asked <= retry.longest_s else None
    return None


def retry_after(headers: httpx.Headers) -> float:
    """Seconds that an answer asks to wait: a number, or a date beside the answer's own.

    >>> retry_after(httpx.Headers({"Retry-After": "2"}))
    2.0
    """
    asked = headers.get("retry-after", "")
    if asked.isascii() and asked.isdigit():
        return float(asked)
    try:
        then, now = parsedate_to_datetime(asked), parsedate_to_datetime(headers["date"])
        return max(0.0, (then - now).total_seconds())
    except (KeyError, TypeError, ValueError):
        return 0.0


def call(request: Request, kind: type[T]) -> Talk[T]:
    """One request whose answer is read as `kind`. Raises `Refused`."""
    answer = yield from succeed(request)
    return read(kind, parsed(answer))


def succeed(request: Request) -> Talk[Answer]:
    """One request that must succeed. Raises `Refused`."""
    answer = yield request
    if not 200 <= answer.status < 300:
        raise refusal(answer.status, answer.body)
    return answer


def parsed(answer: Answer) -> Any:
    """The JSON of an answer."""
    try:
        return json.loads(answer.body)
    except ValueError as error:
        raise UnexpectedAnswer(
            f"the answer is no JSON: {answer.body[:60].decode(errors='replace')!r}"
        ) from error


def address(*parts: str | int) -> str:
    """A path of percent-encoded parts.

    >>> address("v1", "indexes", "papers", "documents", "a/b c")
    '/v1/indexes/papers/documents/a%2Fb%20c'
    """
    quoted = (quote(str(part), safe="") for part in parts)
    # Dots alone would be taken for the folder above.
    return "".join("/" + (q.replace(".", "%2E") if q in (".", "..") else q) for q in quoted)


def said(**members: Any) -> dict[str, Any]:
    """The members that are not None: what is left out of a request is the server's default.

    >>> said(limit=3, fields=None)
    {'limit': 3}
    """
    return {name: value for name, value in members.items() if value is not None}
