"""What callers ask a commit to remember: JSON values by key, in the transaction of the documents.

They share the table of the settings under names of their own, so every index can hold them.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import apsw
import orjson

from lsr.errors import UsageError

from .catalog import Catalog

PREFIX = "remembered:"


class Remembered(NamedTuple):
    """A row of `meta`; `value` None removes it."""

    name: str
    value: bytes | None


def remembered_as(key: str, value: Any) -> Remembered:
    """Check a key and a value before anything is written. Raises `UsageError`."""
    try:
        return Remembered(_name(key), memoryview(orjson.dumps(value)).tobytes())
    except TypeError as error:
        raise UsageError(f"remember {key!r}: the value must be JSON ({error})") from error


def forgotten(key: str) -> Remembered:
    """The removal of a key."""
    return Remembered(_name(key), None)


def remember_all(connection: apsw.Connection, remembered: Iterable[Remembered]) -> None:
    """Write and remove in order, inside the caller's transaction."""
    for name, value in remembered:
        if value is None:
            connection.execute("DELETE FROM meta WHERE key=?", (name,))
        else:
            connection.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (name, value))


def forget_all(connection: apsw.Connection) -> None:
    """Remove every key, inside the caller's transaction."""
    connection.execute("DELETE FROM meta WHERE substr(key, 1, ?)=?", (len(PREFIX), PREFIX))


def recall(catalog: Catalog, key: str) -> Any:
    """What was remembered under a key, None for nothing."""
    return catalog.meta(_name(key))


def _name(key: object) -> str:
    if not isinstance(key, str) or not key:
        raise UsageError(f"a key to remember by is a non-empty string, got {key!r}")
    return PREFIX + key
