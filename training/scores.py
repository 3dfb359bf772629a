"""The score cache: one Arrow file of what teachers think of (query, document) pairs.

    query       uint64             fingerprint of the query's text (`candidates.text_keys`)
    documents   list<uint64>       fingerprints of its candidates
    <teacher>   list<float32>      one column a teacher: its raw scores of them; NaN = unknown

A record batch holds whole queries; its metadata carry a CRC-32C of each column, the schema's a JSON
object (key `lsr.scores`) with data and teachers, and the CRC of that. Any Arrow reader can map it.

How it is written, resumably: `training.scoring`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa  # type: ignore[import-untyped]

from lsr.errors import ScoresError
from lsr.files import atomic_write

from .candidates import Candidates, Keys, keys_fingerprint

Scores = npt.NDArray[np.float32]
FORMAT = 1

_KEY = b"lsr.scores"
_CRC = b"lsr.crc32c"


@dataclass(frozen=True, slots=True)
class Column:
    """One teacher's scores, as the file names them."""

    column: str
    name: str
    kind: str
    fingerprint: str
    settings: dict[str, Any] = field(default_factory=dict)


class ScoreCache:
    """A finished file, memory-mapped; every checksum was verified when it was opened."""

    def __init__(self, path: Path, content: dict[str, Any], batches: Sequence[Any]) -> None:
        self.path = path
        self.data: str = content["data"]
        self.sources: list[dict[str, Any]] = content["sources"]
        self.teachers = tuple(Column(**entry) for entry in content["teachers"])
        self._batches = batches
        sizes = [batch.num_rows for batch in batches]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    @classmethod
    def open(cls, path: Path) -> "ScoreCache":
        """Map and verify a file; `ScoresError` names what contradicts the format or a checksum."""
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            content = _content(path, reader.schema)
            batches = []
            for i in range(reader.num_record_batches):
                batch, sums = reader.get_batch_with_custom_metadata(i)
                batch.validate(full=True)
                _verify(path, i, batch, sums)
                batches.append(batch)
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, FileNotFoundError):
                raise ScoresError(f"{path}: there is no score cache; write it: lsr score") from None
            raise ScoresError(
                f"{path}: not a whole score cache ({error}); restore a copy, or remove it and run "
                "`lsr score` again"
            ) from error
        cache = cls(path, content, batches)
        if cache.recomputed_data() != cache.data:
            raise ScoresError(f"{path}: queries and candidates are not those it was made for")
        return cache

    @property
    def n_queries(self) -> int:
        """Queries with their candidates."""
        return int(self._starts[-1])

    @property
    def n_pairs(self) -> int:
        """Scored pairs, the same for every teacher."""
        return sum(len(batch.column("documents").values) for batch in self._batches)

    def facts(self) -> dict[str, Any]:
        """What people ask of it: sizes, teachers with the range of their scores, data."""
        teachers = {}
        for column in self.teachers:
            scores = np.concatenate([np.empty(0, np.float32), *self.column_blocks(column.column)])
            known = scores[~np.isnan(scores)]
            teachers[column.column] = {
                "kind": column.kind,
                "fingerprint": column.fingerprint,
                "scored": len(known),
                "lowest": float(known.min()) if len(known) else None,
                "mean": float(known.mean(dtype=np.float64)) if len(known) else None,
                "highest": float(known.max()) if len(known) else None,
                "settings": column.settings,
            }
        return {
            "path": str(self.path),
            "queries": self.n_queries,
            "pairs": self.n_pairs,
            "file_bytes": self.path.stat().st_size,
            "data": self.data,
            "collections": [
                f"{source['name']} {source['split']} {source['fingerprint']}"
                for source in self.sources
            ],
            "teachers": teachers,
        }

    def teacher(self, fingerprint: str) -> Column | None:
        """The column of the teacher with this fingerprint; None if it has not scored yet."""
        return next((t for t in self.teachers if t.fingerprint == fingerprint), None)

    def keys(self, query: int) -> tuple[int, Keys]:
        """Fingerprints of query number `query` and of its candidates."""
        batch, row = self._at(query)
        documents: Keys = self._run("documents", query, query + 1)
        return int(batch.column("query")[row].as_py()), documents

    def scores(self, column: str, first: int, last: int) -> Scores:
        """float32 scores of the candidates of queries `first` to `last` - 1, end to end."""
        scores: Scores = self._run(column, first, last)
        return scores

    def column_blocks(self, column: str) -> Iterator[Scores]:
        """All scores of a column, end to end, one record batch at a time."""
        for batch in self._batches:
            yield batch.column(column).values.to_numpy()

    def recomputed_data(self) -> str:
        """The fingerprint of queries and candidates as they lie in the file."""
        keys = [np.empty(0, np.uint64)]
        lengths = [np.empty(0, np.int64)]
        documents = [np.empty(0, np.uint64)]
        for batch in self._batches:
            keys.append(batch.column("query").to_numpy())
            lengths.append(np.diff(batch.column("documents").offsets.to_numpy()).astype(np.int64))
            documents.append(batch.column("documents").values.to_numpy())
        return keys_fingerprint(
            np.concatenate(keys), np.concatenate(lengths), np.concatenate(documents)
        )

    def _run(self, column: str, first: int, last: int) -> Any:
        pieces = []
        while first < last:
            batch, row = self._at(first)
            lists, stop = batch.column(column), min(batch.num_rows, row + last - first)
            offsets = lists.offsets
            a, b = offsets[row].as_py(), offsets[stop].as_py()
            pieces.append(lists.values.to_numpy()[a:b])
            first += stop - row
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _at(self, query: int) -> tuple[Any, int]:
        i = int(np.searchsorted(self._starts, query, side="right")) - 1
        return self._batches[i], query - int(self._starts[i])


def write_cache(
    path: Path,
    *,
    data: str,
    sources: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    candidates: Candidates,
    blocks: Sequence[slice],
    query_keys: Keys,
    documents: Keys,
    scores: Callable[[Column, int], Scores],
) -> None:
    """Write a whole file, a record batch a block, in place of what lies at `path`.

    `documents` are the keys of all candidates end to end; `scores(column, i)` those of block i.
    """
    content = orjson.dumps(
        {
            "format": FORMAT,
            "data": data,
            "sources": list(sources),
            "teachers": [asdict(column) for column in columns],
        }
    )
    lists = pa.list_(pa.field("item", pa.float32(), nullable=False))
    keys = pa.list_(pa.field("item", pa.uint64(), nullable=False))
    fields = [
        pa.field("query", pa.uint64(), nullable=False),
        pa.field("documents", keys, nullable=False),
        *(pa.field(column.column, lists, nullable=False) for column in columns),
    ]
    checked = {_KEY: content, _CRC: b"%08x" % google_crc32c.value(content)}
    schema = pa.schema(fields, metadata=checked)
    at = candidates.offsets
    with atomic_write(path) as out, pa.ipc.new_file(out, schema) as writer:
        for i, block in enumerate(blocks):
            a, b = int(at[block.start]), int(at[block.stop])
            starts = pa.array((at[block.start : block.stop + 1] - a).astype(np.int32))
            values = [pa.array(documents[a:b])]
            values += [pa.array(scores(column, i)) for column in columns]
            arrays = [pa.array(query_keys[block])]
            arrays += [
                pa.ListArray.from_arrays(starts, v, type=f.type)
                for v, f in zip(values, fields[1:], strict=True)
            ]
            batch = pa.record_batch(arrays, schema=schema)
            writer.write_batch(batch, custom_metadata=_sums(batch))


def _sums(batch: Any) -> dict[bytes, bytes]:
    return {
        field.name.encode(): b"%08x" % _checksum(batch.column(i))
        for i, field in enumerate(batch.schema)
    }


def _checksum(array: Any) -> int:
    if pa.types.is_list(array.type):
        raw = array.offsets.to_numpy().tobytes() + array.values.to_numpy().tobytes()
        return int(google_crc32c.value(raw))
    return int(google_crc32c.value(array.to_numpy().tobytes()))


def _verify(path: Path, number: int, batch: Any, sums: Any) -> None:
    found = dict(sums) if sums is not None else {}
    wanted = _sums(batch)
    if found != wanted:
        wrong = next((k for k in wanted if found.get(k) != wanted[k]), b"?").decode()
        raise ScoresError(
            f"{path}: column '{wrong}' of record batch {number} contradicts its checksum; restore "
            "a copy, or remove the file and run `lsr score` again"
        )
    offsets = batch.column("documents").offsets
    for i in range(2, batch.num_columns):
        if not batch.column(i).offsets.equals(offsets):
            raise ScoresError(f"{path}: record batch {number} has scores without documents")


def _content(path: Path, schema: Any) -> dict[str, Any]:
    metadata = schema.metadata or {}
    raw = metadata.get(_KEY)
    if raw is None:
        raise ScoresError(f"{path} is an Arrow file, but no score cache of `lsr score`")
    if metadata.get(_CRC) != b"%08x" % google_crc32c.value(raw):
        raise ScoresError(f"{path}: its description contradicts its checksum; restore a copy")
    content = orjson.loads(raw)
    if content["format"] != FORMAT:
        raise ScoresError(
            f"{path}: format {content['format']}, this release reads {FORMAT}; score again"
        )
    names = ["query", "documents", *(teacher["column"] for teacher in content["teachers"])]
    if schema.names != names:
        raise ScoresError(f"{path}: columns {schema.names}, its description says {names}")
    described: dict[str, Any] = content
    return described
