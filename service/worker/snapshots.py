"""Snapshots as tasks: taken, verified and restored beside everything else.

Each may begin again after a kill: what it left is no snapshot and no index. What is wrong with a
snapshot ends its task; waiting would not mend it.
"""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from index import Manifest, backup_into, pack, verify_archive, verify_backup
from index.archive import SUFFIX, manifest_of
from index.arrival import arrive
from index.backup import Progress
from lsr.errors import IndexCorrupt, IndexNotFound, IndexVersion

from ..problems import ProblemError
from ..versions import snapshots
from .job import Job


def create(job: Job) -> dict[str, Any]:
    """Copy an index to DIR/snapshots/NAME-GENERATION, or pack it there.

    One of the same commit that is there already is it. One that has the name but is of another
    commit, such as of an index that was deleted or rebuilt since, stays, and the new one is called
    NAME-GENERATION-2.
    """
    entry = job.entry()
    folder = snapshots.folder_of(job.home)
    suffix = SUFFIX if job.task.request.get("archive") else ""
    work = folder / f".{entry.name}.taking"
    shutil.rmtree(work, ignore_errors=True)  # of a task that was killed
    try:
        told, made = backup_into(
            entry.path, work, entry.name, settings=entry.settings, progress=_progress(job)
        )
        place = _place(folder, f"{entry.name}-{told.generation}", suffix, told)
        if place.exists():
            told = _told(place)
        elif suffix:
            pack(made, place, progress=_progress(job))
        else:
            arrive(made, place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {"snapshot": place.name, **snapshots.described(told)}


def _place(folder: Path, name: str, suffix: str, told: Manifest) -> Path:
    """The first place that is free, or holds this commit."""
    for number in count(1):
        place = folder / f"{name}{'' if number == 1 else f'-{number}'}{suffix}"
        if not place.exists() and not place.is_symlink():
            return place
        with suppress(IndexCorrupt, IndexNotFound, IndexVersion):
            if _told(place).is_of(told):
                return place
    raise AssertionError("unreachable")


def _told(place: Path) -> Manifest:
    return manifest_of(place) if place.name.endswith(SUFFIX) else Manifest.read(place)


def verify(job: Job) -> dict[str, Any]:
    """Read every byte of a snapshot; the task fails where one is wrong."""
    name = str(job.task.request["snapshot"])
    place = snapshots.place_of(job.home, name)
    read = verify_archive if name.endswith(SUFFIX) else verify_backup
    verdict = read(place, progress=_progress(job))
    if not verdict.sound or verdict.manifest is None:
        raise _damaged(name, place, _without_paths(job, "; ".join(verdict.problems[:5])))
    return {
        "snapshot": name,
        **snapshots.described(verdict.manifest),
        "bytes_verified": verdict.n_bytes,
    }


def restore(job: Job) -> dict[str, Any]:
    """Make a new index of a snapshot."""
    name, index = str(job.task.request["snapshot"]), str(job.task.index)
    place = snapshots.place_of(job.home, name)
    try:
        told, _ = snapshots.restore_as(job.home, place, index, progress=_progress(job))
    except (IndexCorrupt, IndexNotFound, IndexVersion) as error:
        raise _damaged(name, place, _without_paths(job, str(error))) from error
    return {"snapshot": name, "index": index, **snapshots.described(told)}


def _progress(job: Job) -> Progress:
    def show(done: int, total: int) -> None:
        job.report({"done": done, "total": total}, _NO_DETAILS)

    return show


_NO_DETAILS: Mapping[str, Any] = {}


def _damaged(name: str, place: Path, what: str) -> ProblemError:
    if not place.exists():  # renamed before its files go
        return ProblemError(
            "unknown_snapshot", f"The snapshot '{name}' was deleted while it was read."
        )
    return ProblemError(
        "snapshot_damaged",
        f"The snapshot '{name}' is damaged: {what}",
        hint="Delete it and take another.",
    )


def _without_paths(job: Job, text: str) -> str:
    """Errors name files; clients may know them from the data directory on only."""
    return text.replace(f"{job.home.path}/", "")
