"""Snapshots of a data directory: in DIR/snapshots and nowhere else, never from an address."""

import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from index import Index, Manifest, restore, snapshots_in, unpack
from index.archive import SUFFIX
from index.backup import Progress

from ..home import Home, registry
from ..names import NAME_WANTED, inside, is_name
from ..numbering import go_on_elsewhere
from ..problems import Fault, ProblemError, did_you_mean

_SNAPSHOT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}-[0-9]{1,19}(-[0-9]{1,9})?")
"""NAME-GENERATION, as `index.taking` calls them, or NAME-GENERATION-2."""


def folder_of(home: Home) -> Path:
    """Where the snapshots of a data directory lie."""
    return home.path / "snapshots"


def listed(home: Home) -> list[tuple[Path, Manifest | None]]:
    """Snapshots that can be asked for by name, directories and archives; None for what cannot be
    told without reading it all.
    """
    folder = folder_of(home)
    archives = [
        (path, None)
        for path in sorted(folder.iterdir())
        if path.name.endswith(SUFFIX) and path.is_file() and not path.name.startswith(".")
    ]
    return [*snapshots_in(folder), *archives]


def place_of(home: Home, name: str) -> Path:
    """The snapshot of this name. Raises the problem `unknown_snapshot`, for whatever would lead out
    of the folder too.
    """
    known = [path.name for path, _ in listed(home)]
    stem = name.removesuffix(SUFFIX)
    is_known = name in known and _SNAPSHOT.fullmatch(stem) is not None
    if not is_known or (folder_of(home) / name).is_symlink():
        raise ProblemError(
            "unknown_snapshot",
            f"There is no snapshot '{name[:100]}' in the data directory.",
            hint=did_you_mean(name, known) or "GET /v1/snapshots lists them.",
            extensions={"available": known},
        )
    return inside(folder_of(home), name)


def described(told: Manifest) -> dict[str, Any]:
    """What clients are told of a snapshot."""
    return {
        "of": told.name,
        "generation": told.generation,
        "n_docs": told.n_docs,
        "bytes": told.n_bytes,
        "created": told.created,
        "encoder": None if told.encoder is None else told.encoder["name"],
    }


def discard(place: Path) -> None:
    """Delete a snapshot; a kill leaves nothing that looks like one."""
    hidden = place.with_name(f".{place.name}.deleted")
    shutil.rmtree(hidden, ignore_errors=True)
    place.rename(hidden)
    if hidden.is_dir():
        shutil.rmtree(hidden)
    else:
        hidden.unlink()


def restore_as(
    home: Home, snapshot: Path, name: str, *, progress: Progress | None = None
) -> tuple[Manifest, Path]:
    """Make the new index `name` of a snapshot or an archive; its manifest and its directory.

    Raises the problems `invalid_request` and `index_exists`, or what `index.restore` raises. A kill
    leaves a directory that no index is called by, which the worker removes.
    """
    check_free(home, name)
    folder = registry.new_folder(home, name)
    make = unpack if snapshot.name.endswith(SUFFIX) else restore
    try:
        told = make(snapshot, folder, progress=progress)
        with Index.open(folder) as index:
            index.forget_remembered()  # tasks of another life have the numbers of ours
            go_on_elsewhere(index)
        with home.transaction() as connection:
            registry.enter(connection, name, folder, told.settings or {}, where="/index")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return told, folder


def check_free(home: Home, name: str, *, mounted: Collection[str] = ()) -> None:
    """Refuse a name that is none or is taken, before the work begins."""
    if not is_name(name):
        raise ProblemError(
            "invalid_request",
            f"'{name[:100]}' cannot name an index: wanted {NAME_WANTED}.",
            faults=[Fault("/index", NAME_WANTED)],
        )
    names = registry.Registry.read(home)
    if name in names.entries or name in names.aliases or name in mounted:
        raise ProblemError(
            "index_exists",
            f"There is an index or an alias '{name}' already.",
            hint="Restore it under another name; an alias can then be pointed to it.",
            faults=[Fault("/index", "wanted a name that is free", name)],
        )
