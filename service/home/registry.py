"""Indexes and aliases by name, as `service.sqlite` has them.

A name is an index or an alias, never both. Index directories lie in `indexes/` under a name of
their own, so that one can be replaced while searches finish on the other.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import orjson

from lsr.errors import UsageError

from ..names import inside
from ..problems import Fault, ProblemError, did_you_mean
from .home import Home

LEARNS = "learns"
"""The setting of an index whose BM25 has not seen documents yet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An index. `settings` is what clients chose when they made it.

    One that was named on the command line is `mounted`: it is not the data directory's to delete.
    """

    name: str
    path: Path
    created: float
    settings: Mapping[str, Any]
    mounted: bool = False


@dataclass(frozen=True, slots=True)
class Registry:
    """All indexes and aliases of one moment; `version` tells whether it is still true.

    `shadowed` are the names of the data directory that nobody can reach, because an index that was
    named on the command line has them too.
    """

    version: int
    entries: Mapping[str, Entry]
    aliases: Mapping[str, str]
    shadowed: tuple[str, ...] = ()

    @classmethod
    def read(cls, home: Home | None, mounts: Mapping[str, Path] | None = None) -> "Registry":
        """As the file says now, and the indexes at `mounts` beside those of the data directory.

        A name that is in both means the index at `mounts`, as it did before another process took
        it: a server must go on answering, so `check_mounts` refuses at the start, not here.
        """
        mounted = {
            name: Entry(name, path.resolve(), 0.0, {}, mounted=True)
            for name, path in (mounts or {}).items()
        }
        if home is None:
            return cls(0, mounted, {})
        version = home.changed()
        with home.database.reading() as connection:
            entries = {
                name: Entry(name, home.path / "indexes" / folder, created, orjson.loads(settings))
                for name, folder, created, settings in connection.execute(
                    "SELECT name, folder, created, settings FROM indexes ORDER BY name"
                )
            }
            aliases = dict(connection.execute("SELECT alias, target FROM aliases ORDER BY alias"))
        both = mounted.keys() & (entries.keys() | aliases.keys())
        # An alias of a collection that is out of reach must not answer from its namesake.
        reached = {a: to for a, to in aliases.items() if not both & {a, to}}
        return cls(version, entries | mounted, reached, tuple(sorted(both)))

    def names_of(self, name: str) -> list[str]:
        """All names of the index that this name or alias means: itself, the index, its aliases."""
        target = self.aliases.get(name, name)
        return [name, target, *(a for a, meant in self.aliases.items() if meant == target)]

    def resolve(self, name: str) -> Entry:
        """The index of this name or alias. Raises the problem `unknown_index`."""
        target = self.aliases.get(name, name)
        if target not in self.entries:
            raise unknown_index(name, [*self.entries, *self.aliases])
        return self.entries[target]


def check_mounts(home: Home, mounts: Mapping[str, Path]) -> None:
    """Raise `UsageError` for a name that an index at `mounts` and the data directory both have."""
    for name in Registry.read(home, mounts).shadowed:
        raise UsageError(
            f"{home.path} has an index or an alias '{name}' already; serve the other index under "
            f"another name: NAME={mounts[name]}"
        )


def name_taken(name: str, where: str = "/name") -> ProblemError:
    """The problem of a name that is an index or an alias; `where` is its pointer in the request."""
    return ProblemError(
        "index_exists",
        f"There is an index or an alias '{name}' already.",
        hint="Choose another name, or delete what is there first.",
        faults=[Fault(where, "wanted a name that is free", name)],
    )


def unknown_index(name: str, known: Sequence[str]) -> ProblemError:
    """The problem of a name that is none of those that the client may know."""
    served = ", ".join(f"'{one}'" for one in known) or "none"
    return ProblemError(
        "unknown_index",
        f"There is no index '{name[:100]}' here; served: {served}.",
        hint=did_you_mean(name, known),
        extensions={"available": known},
    )


def new_folder(home: Home, name: str) -> Path:
    """A place for an index directory that was never used before."""
    return inside(home.path / "indexes", f"{name}-{secrets.token_hex(4)}")


def enter(
    connection: apsw.Connection,
    name: str,
    folder: Path,
    settings: Mapping[str, Any],
    *,
    where: str = "/name",
) -> None:
    """Make the finished index directory `folder` known as `name`, inside a transaction.

    Raises the problem `index_exists` when an index or an alias is called so already; `where` is the
    pointer to the name in the request.
    """
    taken = connection.execute(
        "SELECT 1 FROM indexes WHERE name=? UNION ALL SELECT 1 FROM aliases WHERE alias=?",
        (name, name),
    ).fetchall()
    if taken:
        raise name_taken(name, where)
    connection.execute(
        "INSERT INTO indexes VALUES(?, ?, ?, ?)",
        (name, folder.name, time.time(), orjson.dumps(dict(settings))),
    )


def move(
    connection: apsw.Connection,
    name: str,
    folder: Path,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Let `name` mean the finished index directory `folder`, and have these settings if any are
    given, inside a transaction; the folder it meant before.

    Raises the problem `unknown_index` where it was deleted meanwhile.
    """
    found = connection.execute("SELECT folder FROM indexes WHERE name=?", (name,)).fetchall()
    if not found:
        raise unknown_index(name, [])
    ((before,),) = found
    connection.execute("UPDATE indexes SET folder=? WHERE name=?", (folder.name, name))
    if settings is not None:
        put_settings(connection, name, settings)
    return str(before)


def put_settings(connection: apsw.Connection, name: str, settings: Mapping[str, Any]) -> None:
    """Replace the settings of an index, inside a transaction."""
    connection.execute(
        "UPDATE indexes SET settings=? WHERE name=?", (orjson.dumps(dict(settings)), name)
    )


def leave(connection: apsw.Connection, name: str) -> None:
    """Forget an index, inside a transaction; its directory is the caller's to remove.

    Raises the problem `index_in_use` while an alias means it.
    """
    aliases = [
        str(alias)
        for (alias,) in connection.execute("SELECT alias FROM aliases WHERE target=?", (name,))
    ]
    if aliases:
        raise ProblemError(
            "index_in_use",
            f"The alias '{aliases[0]}' means index '{name}'.",
            hint="Point the alias elsewhere or remove it first.",
            extensions={"aliases": aliases},
        )
    connection.execute("DELETE FROM indexes WHERE name=?", (name,))
    connection.execute("DELETE FROM versions WHERE index_name=?", (name,))


def orphans(home: Home, *, older_than_s: float) -> list[Path]:
    """Directories that no index is called by: what a kill left of one being made or removed."""
    registry = Registry.read(home)
    named = {entry.path.name for entry in registry.entries.values()}
    named |= {str(folder) for (folder,) in home.rows("SELECT folder FROM versions")}
    before = time.time() - older_than_s
    return [
        path
        for path in sorted((home.path / "indexes").iterdir())
        if path.name not in named and path.stat().st_mtime < before
    ]
