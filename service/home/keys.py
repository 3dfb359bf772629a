"""Keys: who may do what. The secret is shown once, its SHA-256 is all that is kept.

    lsr_4f1c09a2be_Zk3...        lsr, the id by which it is listed and revoked, 256 random bits

A scope is an action on indexes: `search:docs-*`. A key that was revoked stays in the list, and with
it the rule that every request needs a key.
"""

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson

from ..names import is_name
from ..problems import Fault, ProblemError, shown
from .home import Home

Action = Literal["search", "write", "admin", "monitor"]
"""`search` reads documents of an index in every way there is, `write` adds, replaces and deletes
them, `admin` does all of that and changes indexes, and for `*` also keys, `monitor` reads metrics
and tasks of the whole server.
"""
ACTIONS: tuple[Action, ...] = get_args(Action)
MAX_SCOPES = 64
MAX_FILTER_BYTES = 64 << 10

_PATTERN = re.compile(r"[a-z0-9*][a-z0-9_*-]{0,62}")
_SECRET = re.compile(r"lsr_([0-9a-f]{10})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Scope:
    """One action on the indexes and aliases whose name matches; `*` stands for any characters."""

    action: Action
    pattern: str

    @classmethod
    def read(cls, text: str, at: int = 0) -> "Scope":
        """The scope that `text` says, number `at` of a request. Raises the problem `invalid_scope`.

        >>> Scope.read("search:docs-*").covers("docs-2026")
        True
        """
        action, colon, pattern = text.partition(":")
        if not colon or action not in ACTIONS or not _PATTERN.fullmatch(pattern):
            raise ProblemError(
                "invalid_scope",
                f"'{text[:100]}' is no scope; wanted ACTION:PATTERN.",
                hint=f"Actions: {', '.join(ACTIONS)}. A pattern is the name of an index, "
                "in which * stands for any characters.",
                faults=[Fault(f"/scopes/{at}", "wanted ACTION:PATTERN", shown(text))],
            )
        if action == "monitor" and pattern != "*":
            raise ProblemError(
                "invalid_scope",
                "Monitoring is of the whole server.",
                hint="Write monitor:*.",
                faults=[Fault(f"/scopes/{at}", "wanted monitor:*", shown(text))],
            )
        return cls(action, pattern)

    def covers(self, name: str) -> bool:
        """Whether the pattern matches this name; of what is no name, it is not asked."""
        if not is_name(name):
            return False
        first, *parts = self.pattern.split("*")
        if not parts:
            return name == first
        if not name.startswith(first):
            return False
        at = len(first)
        for part in parts[:-1]:  # each where it comes first: no choice leaves more for the others
            found = name.find(part, at)
            if found < 0:
                return False
            at = found + len(part)
        return len(name) - at >= len(parts[-1]) and name.endswith(parts[-1])

    def __str__(self) -> str:
        return f"{self.action}:{self.pattern}"


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret; times in seconds since the epoch.

    `filter` holds in addition to the filter of every request that the key makes.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    filter: Mapping[str, Any] | None
    created: float
    expires: float | None
    revoked: float | None

    def state(self, now: float) -> Literal["active", "expired", "revoked"]:
        """Whether it opens anything at this time."""
        if self.revoked is not None:
            return "revoked"
        return "active" if self.expires is None or now < self.expires else "expired"

    def as_info(self, now: float) -> dict[str, Any]:
        """As clients see it, `wire.keys.KeyInfo`."""
        return {
            "id": self.id,
            "name": self.name,
            "scopes": [str(scope) for scope in self.scopes],
            "filter": self.filter,
            "created": self.created,
            "expires": self.expires,
            "revoked": self.revoked,
            "state": self.state(now),
        }


def create(
    home: Home,
    name: str,
    scopes: Sequence[Scope],
    *,
    expires: float | None = None,
    filter: Mapping[str, Any] | None = None,
) -> tuple[Key, str]:
    """A new key and its secret, which nobody can read again.

    Raises the problems `invalid_scope` and `invalid_key_request`.
    """
    if not 1 <= len(scopes) <= MAX_SCOPES:
        raise ProblemError(
            "invalid_scope",
            f"A key has 1 to {MAX_SCOPES} scopes.",
            faults=[Fault("/scopes", f"wanted 1 to {MAX_SCOPES}")],
        )
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise ProblemError(
            "invalid_key_request",
            "A key has a name of 1 to 200 printable characters.",
            faults=[Fault("/name", "wanted 1 to 200 printable characters", shown(name))],
        )
    if filter is not None and any(scope.action != "search" for scope in scopes):
        raise ProblemError(
            "invalid_key_request",
            "A key with a filter can only search: what it writes could replace what it cannot see.",
            hint="Make two keys.",
            faults=[Fault("/filter", "wanted scopes of search only beside it")],
        )
    now = time.time()
    if expires is not None and expires <= now:
        raise ProblemError(
            "invalid_key_request",
            "The key would have expired already.",
            faults=[Fault("/expires_in_s", "wanted a time to come")],
        )
    if filter == {}:
        raise ProblemError(
            "invalid_key_request",
            "An empty filter keeps nothing back.",
            faults=[Fault("/filter", "wanted a condition, or no filter")],
        )
    stored = None if filter is None else orjson.dumps(filter)
    if stored is not None and len(stored) > MAX_FILTER_BYTES:
        raise ProblemError(
            "invalid_key_request",
            f"A key's filter has at most {MAX_FILTER_BYTES:,} bytes.",
            faults=[Fault("/filter", f"wanted at most {MAX_FILTER_BYTES:,} bytes")],
        )
    number = secrets.token_hex(5)
    secret = f"lsr_{number}_{secrets.token_urlsafe(32)}"
    with home.transaction() as connection:
        connection.execute(
            "INSERT INTO keys VALUES(?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                number,
                name,
                _hash(secret),
                orjson.dumps([str(scope) for scope in scopes]),
                stored,
                now,
                expires,
            ),
        )
    return Key(number, name, tuple(scopes), filter, now, expires, None), secret


def revoke(home: Home, number: str) -> Key:
    """Close a key for good; again is no error. Raises the problem `unknown_key`."""
    with home.transaction() as connection:
        connection.execute(
            "UPDATE keys SET revoked=coalesce(revoked, ?) WHERE id=?", (time.time(), number)
        )
    for key in listed(home):
        if key.id == number:
            return key
    raise ProblemError("unknown_key", f"There is no key '{number[:40]}'.")


def listed(home: Home) -> list[Key]:
    """All keys, revoked ones too, the oldest first."""
    return [key for key, _ in _read(home)]


class KeyRing:
    """The keys of a data directory as they are now, and one secret against them.

    Another process may create and revoke: `Home.changed` is asked at every request.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._version: int | None = None
        self._keys: Mapping[str, tuple[Key, bytes]] = {}
        self._reading = threading.Lock()

    def empty(self) -> bool:
        """Whether there never was a key, so that nobody can be asked for one."""
        return not self._current()

    def find(self, secret: str, now: float) -> Key:
        """The active key of this secret. Raises the problem `invalid_key`.

        Only who knows the secret learns that it expired or was revoked.
        """
        form = _SECRET.fullmatch(secret)
        known = self._current().get(form[1]) if form else None
        key, expected = known or (None, bytes(32))
        if not hmac.compare_digest(_hash(secret), expected) or key is None:
            raise _refused("No such key.")
        state = key.state(now)
        if state != "active":
            raise _refused(f"The key {key.id} is {state}.")
        return key

    def _current(self) -> Mapping[str, tuple[Key, bytes]]:
        version = self._home.changed()
        if version != self._version:
            with self._reading:
                keys = {key.id: (key, stored) for key, stored in _read(self._home)}
                # Read after the version, so that a change in between is seen next time.
                self._keys, self._version = keys, version
        return self._keys


def _refused(detail: str) -> ProblemError:
    return ProblemError(
        "invalid_key",
        detail,
        hint="`lsr keys list --data DIR` shows the keys of this server.",
        headers={"WWW-Authenticate": 'Bearer realm="lsr-search", error="invalid_token"'},
    )


def _hash(secret: str) -> bytes:
    """Fast is right here: nobody guesses 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _read(home: Home) -> list[tuple[Key, bytes]]:
    rows = home.rows(
        "SELECT id, name, scopes, filter, created, expires, revoked, hash FROM keys "
        "ORDER BY created, id"
    )
    return [
        (
            Key(
                number,
                name,
                tuple(Scope.read(text) for text in orjson.loads(scopes)),
                None if filter is None else orjson.loads(filter),
                created,
                expires,
                revoked,
            ),
            bytes(stored),
        )
        for number, name, scopes, filter, created, expires, revoked, stored in rows
    ]
