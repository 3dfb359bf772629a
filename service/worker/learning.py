"""BM25 of a new index: vocabulary and statistics are those of the first documents it is given."""

import shutil
from collections.abc import Iterator

import orjson

from index import empty_index
from lsr.encoders import BM25Encoder
from lsr.files import make_directory
from lsr.types import Document

from ..home import log, registry
from ..home.registry import Entry
from ..numbering import begin_anywhere
from .job import Job


def learned(job: Job, entry: Entry) -> Entry:
    """The same index with a BM25 fitted to the documents of this task, in a directory of its own.

    Documents without any text teach nothing, and once the index holds one it stays as it is. A kill
    leaves the empty index in place, and a directory that is removed at a later start.
    """
    before = job.shelf.index(entry)
    settings = {key: value for key, value in entry.settings.items() if key != registry.LEARNS}
    if before.n_docs:
        with job.home.transaction() as connection:
            registry.put_settings(connection, entry.name, settings)
        return job.entry()
    if not any(text.strip() for text in _texts(job)):
        return entry
    encoder = BM25Encoder.fit(_texts(job))
    folder = registry.new_folder(job.home, entry.name)
    make_directory(folder)
    try:
        made = empty_index(folder, encoder, fields=before.fields, settings=before.settings)
        with made:
            begin_anywhere(made)
        with job.home.transaction() as connection:
            job.entry()  # raises where it was deleted meanwhile
            registry.move(connection, entry.name, folder, settings)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    job.shelf.discard(entry.path)
    return job.entry()


def _texts(job: Job) -> Iterator[str]:
    for chunk in log.chunks(job.home, job.task.id):
        for line in filter(None, chunk.lines):
            try:
                read = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # rejected when its turn comes
            if isinstance(read, dict):
                fields = read.get("fields", read)
                yield Document("", fields).text() if isinstance(fields, dict) else ""
