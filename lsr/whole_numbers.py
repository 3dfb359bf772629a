"""Whole numbers of JSON that no 64 bits hold: orjson reads them as floats, which are other numbers.

An identifier of twenty digits would come back changed, and nobody would be told.
"""

import json
from collections.abc import Mapping
from typing import Any

_LEAST = 2.0**63
"""What is smaller is a whole number to orjson already."""


class _Beyond(Exception):
    """Carries the digits."""


def beyond_64_bits(read: object, text: bytes) -> str | None:
    """The digits of such a number in `text`, None where it has none; `read` is what orjson made of
    it.

    >>> import orjson
    >>> text = b'{"isbn": [98765432109876543210, 1e30]}'
    >>> beyond_64_bits(orjson.loads(text), text)
    '98765432109876543210'
    >>> beyond_64_bits(1e30, b"1e30")
    """
    if not _has_large(read):  # as nearly always; the text is not looked at
        return None
    try:
        json.loads(text, parse_int=_checked)
    except _Beyond as found:
        return str(found)
    except RecursionError:  # deeper than anything that is kept
        return None
    return None


def _has_large(value: Any) -> bool:
    if isinstance(value, float):
        return abs(value) >= _LEAST
    if isinstance(value, Mapping):
        return any(map(_has_large, value.values()))
    return isinstance(value, list) and any(map(_has_large, value))


def _checked(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise _Beyond(digits[:40])
    return int(digits)
