"""Acknowledged lines into searchable documents: exactly once, whatever is killed when.

Each chunk of the log becomes one commit of the index, which also remembers task, chunk and the
counts so far: a worker that comes after a kill goes on behind the last commit. Lines that are no
documents go to the task's `rejects.ndjson` before their chunk is committed, and are cut off there
if that chunk has to be read again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from index import Index, Writer
from lsr.encoders import SparseEncoder
from lsr.errors import EncoderError, UsageError

from ..home import log
from ..home.registry import LEARNS
from .encoding import encoded
from .job import Job
from .learning import learned
from .lines import Line, RejectedError, read_line

KEY = "ingest"
"""Of what an index remembers: one key, since its tasks in one data directory run one by one."""
MAX_TERMS = 65_536
"""Of one document."""
REJECTS = "rejects.ndjson"
SHOWN_REJECTS = 5
MAX_REJECT_BYTES = 64 << 20
"""Of one task's file: what is rejected after that is counted."""


@dataclass
class Counts:
    """What one task did so far; `chunk` is the last one that is committed.

    A data directory that was put back as it was counts its tasks from there again, but none was
    `created` at the same moment. `empty` are those of the indexed documents that have no term, so
    that no search finds them.
    """

    task: int
    created: float
    chunk: int = -1
    received: int = 0
    indexed: int = 0
    rejected: int = 0
    empty: int = 0
    lines: int = 0
    """The number of the last line that was read; blank ones are counted here alone."""

    def details(self) -> dict[str, Any]:
        """As clients see it."""
        shown = asdict(self)
        del shown["task"], shown["created"], shown["chunk"], shown["lines"]
        return shown


@dataclass(frozen=True, slots=True)
class _Good:
    """A line that will be indexed."""

    number: int
    text: bytes
    line: Line


def run(job: Job) -> dict[str, Any]:
    """Run an ingestion task to its end; its details."""
    entry = job.entry()
    if entry.settings.get(LEARNS):
        entry = learned(job, entry)
    index = job.shelf.index(entry)
    known = job.remembered(index, KEY, mounted=entry.mounted)
    counts = Counts(job.task.id, job.task.created) if known is None else Counts(**known)
    encoder = job.shelf.document_encoder(entry, index)
    total = log.n_lines(job.home, job.task.id)
    rejects = _Rejects(job.folder / REJECTS, before=max(counts.lines, counts.received))
    expected = job.task.request.get("expect") or {}
    windows = entry.settings.get("passages")
    one = _Chunk(index, encoder, windows and tuple(windows), rejects, job.key(KEY))
    vocabulary = _Vocabulary(encoder, index.n_terms)
    for chunk in log.chunks(job.home, job.task.id, after=counts.chunk):
        job.report({"done": counts.received, "total": total}, counts.details())
        one.commit(chunk, vocabulary, counts, expected)
    generation = index.generation if one.committed is None else one.committed
    details = {**counts.details(), "generation": generation}
    if counts.rejected:
        details["rejects"] = rejects.first()
        details["rejects_url"] = f"/v1/tasks/{job.task.id}/rejects"
    else:
        rejects.path.unlink(missing_ok=True)
    return details


class _Vocabulary:
    """Term numbers by vocabulary entry, made when the first line with tokens comes."""

    def __init__(self, encoder: SparseEncoder | None, n_terms: int) -> None:
        self._encoder = encoder
        self._n_terms = n_terms
        self._numbers: dict[str, int] = {}

    def of(self, text: bytes) -> Mapping[str, int] | None:
        """What `read_line` wants for this line."""
        if self._encoder is None:
            return None
        if not self._numbers and b'"tokens"' in text:
            for number, term in enumerate(self._encoder.term_strings(range(self._n_terms))):
                self._numbers.setdefault(term, number)
        return self._numbers


class _Rejects:
    """The file of rejected lines: {"line", "code", "detail", "pointer", "text"} each, up to
    `MAX_REJECT_BYTES`.
    """

    def __init__(self, path: Path, *, before: int) -> None:
        self.path = path
        kept: list[bytes] = []
        if path.exists():  # of a worker that was killed: what it wrote for later lines comes again
            whole = path.read_bytes().split(b"\n")[:-1]
            kept = [one for one in whole if orjson.loads(one)["line"] <= before]
        self._room = MAX_REJECT_BYTES - path.write_bytes(b"".join(one + b"\n" for one in kept))

    def add(self, number: int, text: bytes, reason: RejectedError) -> None:
        record = {
            "line": number,
            "code": reason.code,
            "detail": reason.detail,
            "pointer": reason.pointer,
            "text": text.decode("utf-8", "replace"),
        }
        written = orjson.dumps(record) + b"\n"
        self._room -= len(written)
        if self._room >= 0:
            with self.path.open("ab") as file:
                file.write(written)

    def first(self) -> list[dict[str, Any]]:
        """Some of them, without their text."""
        with self.path.open("rb") as file:
            records = [
                orjson.loads(one) for one, _ in zip(file, range(SHOWN_REJECTS), strict=False)
            ]
        return [{k: v for k, v in record.items() if k != "text"} for record in records]


class _Chunk:
    """One chunk of lines on its way into an index."""

    def __init__(
        self,
        index: Index,
        encoder: SparseEncoder | None,
        windows: tuple[int, int] | None,
        rejects: _Rejects,
        key: str,
    ) -> None:
        self.key = key
        self.index = index
        self.encoder = encoder
        self.windows = windows
        self.rejects = rejects
        self.committed: int | None = None
        """The number of the newest commit of this task."""

    def commit(
        self, chunk: log.Chunk, numbers: _Vocabulary, counts: Counts, expected: Mapping[str, Any]
    ) -> None:
        """Read, encode and commit it, counting into `counts`."""
        good = self._read(chunk, numbers)
        with self.index.writer() as writer:
            for doc_id, version in expected.items():
                writer.expect(doc_id, version)
            n_unfit, n_empty = self._add(writer, good)
            counts.chunk = chunk.number
            counts.lines = chunk.first_line + len(chunk.lines) - 1
            counts.received += chunk.n_given
            counts.indexed += len(good) - n_unfit
            counts.rejected += chunk.n_given - len(good) + n_unfit
            counts.empty += n_empty
            writer.remember(self.key, asdict(counts))
        assert writer.commit is not None
        self.committed = writer.commit.number

    def _read(self, chunk: log.Chunk, numbers: _Vocabulary) -> list[_Good]:
        good: list[_Good] = []
        for number, text in enumerate(chunk.lines, start=chunk.first_line):
            if not text:
                continue
            try:
                line = read_line(
                    text,
                    n_terms=self.index.n_terms,
                    numbers=numbers.of(text),
                    max_terms=MAX_TERMS,
                    text_fields=self.encoder.text_fields if self.encoder is not None else (),
                )
                if line.terms is None and self.encoder is None:
                    raise RejectedError(
                        "no_encoder", "this index was made for vectors: give 'vector'"
                    )
            except RejectedError as reason:
                self.rejects.add(number, text, reason)
            else:
                good.append(_Good(number, text, line))
        return good

    def _add(self, writer: Writer, lines: list[_Good]) -> tuple[int, int]:
        """Add what the index takes, all at once if it can be; how many lines it does not take, and
        how many documents it takes without any term.

        The last line of an id counts, of those that the index takes.
        """
        if not lines:
            return 0, 0
        latest = {one.line.document.doc_id: one for one in lines}
        try:
            return 0, self._add_together(writer, list(latest.values()))
        except (UsageError, EncoderError):
            pass
        n_unfit = 0
        empty: dict[str, int] = {}
        for one in lines:
            try:
                empty[one.line.document.doc_id] = self._add_together(writer, [one])
            except (UsageError, EncoderError) as error:
                reason = RejectedError("invalid_document", str(error))
                self.rejects.add(one.number, one.text, reason)
                n_unfit += 1
        return n_unfit, sum(empty.values())

    def _add_together(self, writer: Writer, lines: Sequence[_Good]) -> int:
        batch = encoded([one.line for one in lines], self.index.n_terms, self.encoder, self.windows)
        writer.add(batch.documents, batch.vectors, passages=batch.passages)
        return batch.n_empty()
