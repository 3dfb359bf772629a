"""Snapshots by name: NAME-GENERATION in a folder, or NAME-GENERATION-2 where that is another's."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from lsr.errors import IndexCorrupt, IndexNotFound, IndexVersion
from lsr.files import changing

from .archive import SUFFIX, manifest_of, pack
from .arrival import arrive, emptied, reserved
from .backup import Progress, backup_into
from .manifest import Manifest


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot, where it lies, and whether it was made now: else it was there already."""

    manifest: Manifest
    place: Path
    fresh: bool


def take(
    directory: Path,
    folder: Path,
    name: str,
    *,
    settings: Mapping[str, Any] | None = None,
    archive: bool = False,
    link: bool = True,
    progress: Progress | None = None,
) -> Taken:
    """Copy the index in `directory` into `folder` as `name`, or pack it there with `archive`.

    One of the same commit that is there already is it. One that has the name but is of another
    commit, as of an index that was deleted or rebuilt since, stays as it is. Whatever goes wrong,
    nothing is left behind.
    """
    work = folder / f".{name}.taking"
    with changing(work), reserved(work, "to take a snapshot"):
        emptied(work)  # of a call that was killed
        try:
            told, made = backup_into(
                directory, work, name, settings=settings, link=link, progress=progress
            )
            suffix = SUFFIX if archive else ""
            place = _place(folder, f"{name}-{told.generation}", suffix, told)
            if place.exists():
                return Taken(_manifest_at(place), place, fresh=False)
            if archive:
                pack(made, place, progress=progress)
            else:
                arrive(made, place)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return Taken(told, place, fresh=True)


def _place(folder: Path, name: str, suffix: str, told: Manifest) -> Path:
    """The first place that is free, or holds this commit."""
    for number in count(1):
        place = folder / f"{name}{'' if number == 1 else f'-{number}'}{suffix}"
        if not place.exists() and not place.is_symlink():
            return place
        with suppress(IndexCorrupt, IndexNotFound, IndexVersion):
            if _manifest_at(place).is_of(told):
                return place
    raise AssertionError("unreachable")


def _manifest_at(place: Path) -> Manifest:
    return manifest_of(place) if place.name.endswith(SUFFIX) else Manifest.read(place)
