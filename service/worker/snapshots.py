"""Snapshots as tasks: taken, verified and restored beside everything else.

Each may begin again after a kill: what it left is no snapshot and no index. What is wrong with a
snapshot ends its task; waiting would not mend it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from index import verify_archive, verify_backup
from index.archive import SUFFIX
from index.backup import Progress
from index.taking import take
from lsr.errors import IndexCorrupt, IndexNotFound, IndexVersion

from ..problems import ProblemError
from ..versions import snapshots
from .job import Job


def create(job: Job) -> dict[str, Any]:
    """Copy an index to DIR/snapshots, or pack it there, as `index.taking.take` does it."""
    entry = job.entry()
    taken = take(
        entry.path,
        snapshots.folder_of(job.home),
        entry.name,
        settings=entry.settings,
        archive=bool(job.task.request.get("archive")),
        progress=_progress(job),
    )
    return {"snapshot": taken.place.name, **snapshots.described(taken.manifest)}


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
