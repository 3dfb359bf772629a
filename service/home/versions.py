"""Earlier versions of indexes: the directories that rebuilds took out of service and kept.

`after` is the commit of the newer version when it took over: what it was given from then on is
brought over before an earlier version serves again, so that a rollback loses no document.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import orjson

from .home import Home

KEEP = 1
"""Earlier versions kept of an index: each costs its disk space."""


@dataclass(frozen=True, slots=True)
class Version:
    """An earlier version, in service `until` then."""

    number: int
    index: str
    path: Path
    settings: Mapping[str, Any]
    until: float
    after: int
    why: Mapping[str, Any]


def versions_of(home: Home, index: str) -> list[Version]:
    """The newest first."""
    rows = home.rows(
        "SELECT number, index_name, folder, settings, until, after, why FROM versions "
        "WHERE index_name=? ORDER BY number DESC",
        index,
    )
    return [
        Version(
            number,
            name,
            home.path / "indexes" / folder,
            orjson.loads(settings),
            until,
            after,
            orjson.loads(why),
        )
        for number, name, folder, settings, until, after, why in rows
    ]


def keep(
    connection: apsw.Connection,
    index: str,
    folder: str,
    settings: Mapping[str, Any],
    *,
    after: int,
    why: Mapping[str, Any],
) -> None:
    """Remember the directory that an index had until now, inside the transaction of the swap."""
    connection.execute(
        "INSERT INTO versions(index_name, folder, settings, until, after, why) "
        "VALUES(?, ?, ?, ?, ?, ?)",
        (
            index,
            folder,
            orjson.dumps(dict(settings)),
            time.time(),
            after,
            orjson.dumps(dict(why)),
        ),
    )


def forget(connection: apsw.Connection, number: int) -> bool:
    """Remember one no more, inside a transaction; its directory is the caller's. Whether it was
    still there: what another has forgotten is removed.
    """
    connection.execute("DELETE FROM versions WHERE number=?", (number,))
    return bool(connection.changes())


def forget_all(home: Home, connection: apsw.Connection, index: str) -> list[Path]:
    """Remember none of an index any more, inside a transaction; the directories of those that were,
    which are the caller's.
    """
    found: list[Any] = connection.execute(
        "DELETE FROM versions WHERE index_name=? RETURNING folder", (index,)
    ).fetchall()
    return [home.path / "indexes" / str(folder) for (folder,) in found]
