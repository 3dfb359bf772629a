"""Aliases: names that mean an index, moved in one step, with a history that leads back.

A search takes its index from the alias once, so it never sees half of a change; several actions
together are one transaction.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import apsw
import orjson

from ..names import NAME_WANTED, is_name
from ..problems import Fault, ProblemError, did_you_mean
from .home import Home

HISTORY = 100
"""Changes that one listing tells of an alias."""


@dataclass(frozen=True, slots=True)
class Action:
    """`add` an alias that is new, `swap` one that exists, `remove` one; the last has no index.

    Without `must_exist` a swap may also add, and a remove find nothing to remove.
    """

    kind: Literal["add", "swap", "remove"]
    alias: str
    index: str | None = None
    must_exist: bool = True


@dataclass(frozen=True, slots=True)
class Alias:
    """What an alias means, and since when."""

    alias: str
    index: str
    since: float


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an alias: None for an `index` that it means no more, or for a `previous` one
    where it was new. `why` tells what was asked for and which numbers allowed it.
    """

    number: int
    alias: str
    index: str | None
    previous: str | None
    at: float
    why: Mapping[str, Any]


def aliases_of(home: Home) -> list[Alias]:
    """All of them, by name."""
    rows = home.rows("SELECT alias, target, since FROM aliases ORDER BY alias")
    return [Alias(*row) for row in rows]


def history_of(home: Home, alias: str, *, limit: int = HISTORY) -> list[Change]:
    """The newest changes of an alias first; also of one that was removed.

    Raises the problem `unknown_alias` for a name that none ever had.
    """
    rows = home.rows(
        "SELECT number, alias, target, previous, at, why FROM alias_history WHERE alias=? "
        "ORDER BY number DESC LIMIT ?",
        alias,
        limit,
    )
    if not rows:
        with home.transaction() as connection:
            raise _unknown(connection, alias)
    return [
        Change(number, name, index, previous, at, orjson.loads(why) if why else {})
        for number, name, index, previous, at, why in rows
    ]


def apply(
    home: Home,
    actions: Sequence[Action],
    *,
    why: Mapping[str, Any] | None = None,
    expected: Mapping[str, str | None] | None = None,
    mounted: Collection[str] = (),
) -> list[Change]:
    """Apply all actions or none; the changes made.

    `expected` maps aliases to what they must mean still, None for nothing: what was measured
    before. `mounted` are indexes outside the data directory, whose names are taken. Raises the
    problems `unknown_alias`, `unknown_index`, `alias_exists`, `alias_changed` and
    `invalid_request`, with the place of the action.
    """
    changes = []
    with home.transaction() as connection:
        for alias, index in (expected or {}).items():
            if (now := _target(connection, alias)) != index:
                raise ProblemError(
                    "alias_changed",
                    f"The alias '{alias}' means '{now}' now, not '{index}'; nothing was changed.",
                    hint="Look at what it means and ask again.",
                )
        for number, action in enumerate(actions):
            if action.kind != "remove" and action.alias in mounted:
                raise _is_an_index(action.alias)
            changed = _apply_one(connection, action, f"/actions/{number}/{action.kind}", why or {})
            changes += [] if changed is None else [changed]
    return changes


def rollback(home: Home, alias: str) -> Change:
    """Let an alias mean again what it meant before its last change; a second time undoes the first.

    Raises the problems `unknown_alias` and `nothing_to_roll_back`.
    """
    with home.transaction() as connection:
        now = _target(connection, alias)
        if now is None:
            raise _unknown(connection, alias)
        last = connection.execute(
            "SELECT number, previous FROM alias_history WHERE alias=? ORDER BY number DESC LIMIT 1",
            (alias,),
        ).fetchall()
        number, previous = last[0] if last else (None, None)
        if previous is None or not _is_index(connection, str(previous)):
            raise ProblemError(
                "nothing_to_roll_back",
                f"The alias '{alias}' has meant nothing but '{now}'."
                if previous is None
                else f"The index '{previous}' that '{alias}' meant before is gone.",
                hint="GET its history to see what it meant; swap it to an index that is there.",
            )
        return _put(connection, alias, str(previous), now, {"action": "rollback", "undoes": number})


def _apply_one(
    connection: apsw.Connection, action: Action, pointer: str, why: Mapping[str, Any]
) -> Change | None:
    now = _target(connection, action.alias)
    reason = {"action": action.kind, **why}
    if action.kind == "remove":
        if now is None:
            if action.must_exist:
                raise _unknown(connection, action.alias, pointer)
            return None
        connection.execute("DELETE FROM aliases WHERE alias=?", (action.alias,))
        return _recorded(connection, action.alias, None, now, reason)
    assert action.index is not None
    if not is_name(action.alias):
        raise ProblemError(
            "invalid_request",
            f"'{action.alias[:100]}' cannot name an alias: wanted {NAME_WANTED}.",
            faults=[Fault(f"{pointer}/alias", NAME_WANTED)],
        )
    if _is_index(connection, action.alias):
        raise _is_an_index(action.alias)
    if not _is_index(connection, action.index):
        known = [str(name) for (name,) in connection.execute("SELECT name FROM indexes")]
        raise ProblemError(
            "unknown_index",
            f"There is no index '{action.index[:100]}' in the data directory.",
            hint=did_you_mean(action.index, known),
            faults=[Fault(f"{pointer}/index", "wanted an index of the data directory")],
            extensions={"available": known},
        )
    if action.kind == "add" and now not in (None, action.index):
        raise ProblemError(
            "alias_exists",
            f"The alias '{action.alias}' means '{now}' already.",
            hint="Use the action 'swap' to point it elsewhere.",
        )
    if action.kind == "swap" and now is None and action.must_exist:
        raise _unknown(connection, action.alias, pointer)
    if now == action.index:
        return None
    return _put(connection, action.alias, action.index, now, reason)


def _put(
    connection: apsw.Connection,
    alias: str,
    index: str,
    previous: str | None,
    why: Mapping[str, Any],
) -> Change:
    connection.execute(
        "INSERT INTO aliases VALUES(?, ?, ?) "
        "ON CONFLICT(alias) DO UPDATE SET target=excluded.target, since=excluded.since",
        (alias, index, time.time()),
    )
    return _recorded(connection, alias, index, previous, why)


def _recorded(
    connection: apsw.Connection,
    alias: str,
    index: str | None,
    previous: str | None,
    why: Mapping[str, Any],
) -> Change:
    at = time.time()
    connection.execute(
        "INSERT INTO alias_history(alias, target, previous, at, why) VALUES(?, ?, ?, ?, ?)",
        (alias, index, previous, at, orjson.dumps(dict(why))),
    )
    return Change(connection.last_insert_rowid(), alias, index, previous, at, why)


def _target(connection: apsw.Connection, alias: str) -> str | None:
    found = connection.execute("SELECT target FROM aliases WHERE alias=?", (alias,)).fetchall()
    return str(found[0][0]) if found else None


def _is_index(connection: apsw.Connection, name: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM indexes WHERE name=?", (name,)).fetchall())


def _is_an_index(name: str) -> ProblemError:
    return ProblemError(
        "alias_exists",
        f"'{name}' is an index; a name is an index or an alias, never both.",
        hint="Choose another name for the alias.",
    )


def _unknown(connection: apsw.Connection, alias: str, pointer: str = "") -> ProblemError:
    known = [str(name) for (name,) in connection.execute("SELECT alias FROM aliases")]
    return ProblemError(
        "unknown_alias",
        f"There is no alias '{alias[:100]}'.",
        hint=did_you_mean(alias, known) or "GET /v1/aliases lists them.",
        faults=[Fault(f"{pointer}/alias", "wanted an alias that exists")] if pointer else [],
        extensions={"available": known},
    )
