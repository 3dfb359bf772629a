"""Back to the version that an index had before it was rebuilt, without losing what came since."""

from typing import Any

from index import Index
from index.rebuild import Weights, follow
from lsr.errors import LsrError

from ..home import registry, versions
from ..home.registry import Entry
from ..home.versions import Version
from ..problems import ProblemError
from ..versions.rebuilding import nothing_kept
from .job import Job


def run(job: Job) -> dict[str, Any]:
    """Let the earlier version catch up and serve again; the present one is kept in its place."""
    entry = job.entry()
    wanted = int(job.task.request["version"])
    folder = str(job.task.request["folder"])
    if entry.path.name == folder:  # killed behind the swap
        return {"index": entry.name, "version": wanted, "caught_up": 0}
    kept = [one for one in versions.versions_of(job.home, entry.name) if one.number == wanted]
    if not kept or not kept[0].path.is_dir():
        raise nothing_kept(entry.name)
    (version,) = kept
    current = job.shelf.index(entry)
    with Index.open(version.path) as earlier:
        weights = _weights(job, version, current, earlier)
        try:
            n = follow(current, earlier, weights, since=version.after)
        except LsrError as error:
            raise ProblemError(
                "rollback_failed",
                f"What came since cannot be brought over ({type(error).__name__}); nothing was "
                "changed.",
                hint="The server's log says more; a snapshot can be restored beside it.",
            ) from error
        after = earlier.generation
    with job.home.transaction() as connection:
        if not versions.forget(connection, version.number):
            raise nothing_kept(entry.name)
        registry.move(connection, entry.name, version.path, version.settings)
        versions.keep(
            connection,
            entry.name,
            entry.path.name,
            entry.settings,
            after=after,
            why={"task": job.task.id, "rollback": version.number},
        )
    job.shelf.forget(entry.path)
    return {"index": entry.name, "version": version.number, "caught_up": n, "generation": after}


def _weights(job: Job, version: Version, current: Index, earlier: Index) -> Weights:
    """Stored vectors where both versions mean the same by them, else encoded anew."""
    ours, theirs = current.encoder, earlier.encoder
    same = (ours and ours.space) == (theirs and theirs.space)
    if same and current.n_terms == earlier.n_terms:
        return Weights()
    windows = version.settings.get("passages")
    entry = Entry(version.index, version.path, version.until, version.settings)
    encoder = job.shelf.document_encoder(entry, earlier)
    return Weights(encoder, windows and (int(windows[0]), int(windows[1])))
