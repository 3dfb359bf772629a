"""Documents gone by id or by filter, in one commit."""

from typing import Any

from .job import Job


def run(job: Job) -> dict[str, Any]:
    """Run a deletion; its details. After a kill it is run again and counts what was left then."""
    index = job.shelf.index(job.entry())
    request = job.task.request
    with index.writer() as writer:
        for doc_id, version in (request.get("expect") or {}).items():
            writer.expect(doc_id, version)
        if "ids" in request:
            writer.delete(request["ids"])
        else:
            writer.delete_where(request["filter"])
    assert writer.commit is not None
    return {"deleted": writer.commit.n_deleted, "generation": writer.commit.number}
