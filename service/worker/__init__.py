"""What runs tasks: one worker a data directory, in a process of its own under `lsr serve`.

worker.py     the loop: claim, run, finish, in order per index
job.py        what a running task has at hand: indexes, encoders, progress, cancellation
process.py    the worker as a process, started again when it dies
learning.py   BM25 of the first documents
encoding.py   lines as vectors
lines.py      a line of NDJSON as a document
ingest.py     acknowledged lines into searchable documents, exactly once
delete.py     documents by id or by filter
canary.py     judged queries, asked every few minutes
rebuild.py    a new version of an index, swapped in
rollback.py   the earlier version again
snapshots.py  snapshots taken, verified and restored
"""

from .process import work, worker_process
from .worker import Worker

__all__ = ["Worker", "work", "worker_process"]
