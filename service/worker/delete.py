"""Documents gone by id or by filter, in one commit."""

from typing import Any

from index import Commit

from .job import Job

KEY = "delete"
"""Of what an index remembers: which deletion was the last, and what it did."""


def run(job: Job) -> dict[str, Any]:
    """Run a deletion; its details. One that is done already, as before a kill, only tells them."""
    entry = job.entry()
    index = job.shelf.index(entry)
    if (known := job.remembered(index, KEY, mounted=entry.mounted)) is not None:
        done: dict[str, Any] = known["done"]
        return done
    request = job.task.request
    with index.writer() as writer:
        for doc_id, version in (request.get("expect") or {}).items():
            writer.expect(doc_id, version)
        if "ids" in request:
            writer.delete(request["ids"])
        else:
            writer.delete_where(request["filter"])
        me = {"task": job.task.id, "created": job.task.created}
        writer.remember_of(job.key(KEY), lambda made: {**me, "done": _details(made)})
    assert writer.commit is not None
    return _details(writer.commit)


def _details(made: Commit) -> dict[str, Any]:
    return {"deleted": made.n_deleted, "generation": made.number}
