"""Logs on stderr, as text for people or as one JSON object a line for machines; no secret in
either.

Texts of queries are not logged unless the operator asks for a share of them (`--log-queries`).
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

import orjson

Format = Literal["text", "json"]

LEVELS = {"lsr.service": logging.INFO, "index": logging.WARNING, "uvicorn": logging.WARNING}
_SECRETS = (
    re.compile(r"\b(lsr_)[A-Za-z0-9_-]{16,}"),  # our keys, wherever they turn up
    re.compile(
        r"(?i)((?:authorization|x-api-key|api[_-]?key|password|secret|token)[\"']?\s*[:=]\s*[\"']?"
        r"(?:bearer\s+|basic\s+)?)[^\s\"',;&]+"
    ),
    re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}"),
)


def redacted(text: str) -> str:
    """The text without what looks like a key or a password.

    >>> redacted("sent Authorization: Bearer abc123def456 to /v1/info")
    'sent Authorization: Bearer [redacted] to /v1/info'
    """
    for pattern in _SECRETS:
        text = pattern.sub(r"\1[redacted]", text)
    return text


class TextFormatter(logging.Formatter):
    """The message as it is, tracebacks below it."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        return redacted(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the facts of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        facts: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            # Columns are for people.
            "message": " ".join(redacted(record.getMessage()).split()),
        }
        for name, fact in getattr(record, "facts", {}).items():
            facts[name] = redacted(fact) if isinstance(fact, str) else fact
        if record.exc_info:
            facts["traceback"] = redacted(self.formatException(record.exc_info))
        return orjson.dumps(facts, default=str).decode("utf-8", "replace")


@contextmanager
def logging_to_stderr(how: Format = "text") -> Iterator[None]:
    """Our lines, and of the libraries below us what is worth it; then all is as it was before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if how == "json" else TextFormatter("%(message)s"))
    before = {name: logging.getLogger(name).level for name in LEVELS}
    for name, level in LEVELS.items():
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(level)
