"""Documents in and out, as requests: single ones, and any number in batches."""

import gzip
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ..errors import ServiceError
from .reading import read
from .resources import Added, Reject, StoredDocument, Task, WrittenDocument
from .searching import Vector
from .steps import Request, Talk, address, call, said, succeed
from .tasks import wait

Line: TypeAlias = Mapping[str, Any]
"""A document as the API takes it: `id`, `fields`, and `tokens` or `vector` where it is encoded."""
Compression: TypeAlias = Literal["gzip", "zstd"] | None

AHEAD = 8
"""Batches that are acknowledged and not yet searchable before `add` waits for the oldest: enough
to keep the server's worker busy, few enough to keep its log short.
"""


def get(index: str, id: str) -> Talk[StoredDocument]:
    """One document as it was given. Raises `Refused` with the code `unknown_document`."""
    return (yield from call(Request("GET", _place(index, id), repeatable=True), StoredDocument))


def put(
    index: str,
    id: str,
    fields: Mapping[str, Any],
    *,
    tokens: Mapping[str, float] | None = None,
    vector: Vector | None = None,
    if_match: int | None = None,
    only_new: bool = False,
) -> Talk[WrittenDocument]:
    """Create or replace one document; it is searchable when this returns.

    With `if_match` only a document of that version is replaced, with `only_new` none is; else
    `Refused` with the code `version_conflict`.
    """
    body = said(
        fields=dict(fields),
        tokens=None if tokens is None else dict(tokens),
        vector=None
        if vector is None
        else {"indices": list(vector.indices), "values": list(vector.values)},
    )
    headers = _expecting(if_match) | ({"If-None-Match": "*"} if only_new else {})
    # A condition holds once: repeated, it would deny what it has just done.
    request = Request("PUT", _place(index, id), json=body, headers=headers, repeatable=not headers)
    return (yield from call(request, WrittenDocument))


def delete(index: str, id: str, *, if_match: int | None = None) -> Talk[None]:
    """Delete one document, with `if_match` only in that version."""
    yield from succeed(Request("DELETE", _place(index, id), headers=_expecting(if_match)))


def delete_many(
    index: str,
    *,
    ids: Iterable[str] | None = None,
    filter: Mapping[str, Any] | None = None,
    timeout: float | None = None,
) -> Talk[Task]:
    """Delete by ids, or all that a filter selects; the task once it is over.

    Raises `TaskFailed`, and `TimeoutError` after `timeout` seconds.
    """
    body = said(ids=None if ids is None else list(ids), filter=filter)
    path = address("v1", "indexes", index, "documents", "delete")
    task = yield from call(Request("POST", path, parameters={"wait": 0}, json=body), Task)
    return (yield from wait(task.id, timeout=timeout))


def add(
    index: str,
    documents: Iterable[Line],
    *,
    ack: Literal["searchable", "logged"] = "searchable",
    batch_bytes: int = 4 << 20,
    compression: Compression = "gzip",
    progress: Callable[[int], None] | None = None,
) -> Talk[Added]:
    """Add or replace any number of documents, in batches of about `batch_bytes`.

    Every batch is durable when the next is sent; `progress` is told how many documents are. With
    `ack="searchable"` this returns when all can be found, with "logged" when all are durable. A
    batch bears an Idempotency-Key, so repeating it after a broken connection adds nothing twice.
    Documents that the server rejects are counted and the first of them listed, none is raised.
    """
    upload = _Upload(index)
    for batch in batches(documents, batch_bytes):
        try:
            task = yield from call(_posted(index, batch, compression), Task)
        except ServiceError as error:
            error.add_note(f"{upload.received:,} documents before this batch are acknowledged")
            raise
        upload.sent(task.id, batch.n_documents)
        if progress is not None:
            progress(upload.received)
        if ack == "searchable" and len(upload.waiting) > AHEAD:
            yield from upload.settle_oldest()
    while ack == "searchable" and upload.waiting:
        yield from upload.settle_oldest()
    return upload.outcome()


@dataclass(frozen=True)
class Batch:
    """Lines of NDJSON that go in one request."""

    body: bytes
    n_documents: int


def batches(documents: Iterable[Line], batch_bytes: int) -> Iterator[Batch]:
    """The documents in order, in batches that end with the first line beyond `batch_bytes`.

    >>> [batch.n_documents for batch in batches([{"id": "a"}, {"id": "b"}, {"id": "c"}], 20)]
    [2, 1]
    """
    lines: list[bytes] = []
    n_bytes = 0
    for document in documents:
        line = json.dumps(document, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        lines.append(line)
        n_bytes += len(line)
        if n_bytes >= batch_bytes:
            yield Batch(b"".join(lines), len(lines))
            lines, n_bytes = [], 0
    if lines:
        yield Batch(b"".join(lines), len(lines))


@dataclass
class _Upload:
    """What is known of the batches so far."""

    index: str
    received: int = 0
    indexed: int = 0
    rejected: int = 0
    empty: int = 0
    generation: int | None = None
    rejects: list[Reject] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    waiting: list[tuple[int, int]] = field(default_factory=list)
    """(task, documents before it)"""

    def sent(self, task: int, n_documents: int) -> None:
        """A batch was acknowledged."""
        self.tasks.append(task)
        self.waiting.append((task, self.received))
        self.received += n_documents

    def settle_oldest(self) -> Talk[None]:
        """Wait for the oldest batch, and count what became of it."""
        number, before = self.waiting.pop(0)
        details = (yield from wait(number)).details or {}
        self.indexed += int(details.get("indexed", 0))
        self.rejected += int(details.get("rejected", 0))
        self.empty += int(details.get("empty", 0))
        self.generation = details.get("generation", self.generation)
        for one in details.get("rejects", ()):
            reject = read(Reject, one)
            self.rejects.append(
                Reject(reject.line + before, reject.code, reject.detail, reject.pointer)
            )

    def outcome(self) -> Added:
        """All of it."""
        return Added(
            self.received,
            self.indexed,
            self.rejected,
            tuple(self.rejects),
            self.generation,
            tuple(self.tasks),
            self.empty,
        )


def _posted(index: str, batch: Batch, compression: Compression) -> Request:
    headers = {
        "Content-Type": "application/x-ndjson",
        "Idempotency-Key": secrets.token_hex(16),
    }
    body = batch.body
    if compression is not None:
        headers["Content-Encoding"] = compression
        body = _compressed(body, compression)
    return Request(
        "POST",
        address("v1", "indexes", index, "documents"),
        parameters={"ack": "logged"},
        content=body,
        headers=headers,
        repeatable=True,
    )


def _compressed(body: bytes, compression: Literal["gzip", "zstd"]) -> bytes:
    if compression == "gzip":
        return gzip.compress(body, compresslevel=1)  # 3 times as quick as 6, 10 % larger
    import zstandard

    return zstandard.ZstdCompressor(level=1).compress(body)


def _place(index: str, id: str) -> str:
    return address("v1", "indexes", index, "documents", id)


def _expecting(version: int | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}
