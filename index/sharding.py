"""From a corpus to a set of shards, each a build of its own, wherever somebody runs it.

The encoder is whole before the first shard is begun, so that every shard weighs alike. A shard that
is finished is kept: the same command builds the others. The set is made in `NAME.building`, and
`shards.json` is written when all is there (shards.py).
"""

import hashlib
import math
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from lsr.encoders.protocol import SparseEncoder
from lsr.encoders.siamese import is_binary
from lsr.errors import DatasetError, EncoderError, IndexExists, RepeatedId, UsageError
from lsr.files import atomic_write, changing, make_directory
from lsr.types import Document

from .arrival import arrive, emptied, reserved
from .card import encoder_card
from .ingest import BuildReport, build_index
from .settings import Settings
from .shard_facts import info
from .shards import Shard, ShardSet, holds_index, write_member
from .store import Index

PLAN = "plan.json"
HASHES_AT_ONCE = 1 << 24
"""Hashes of ids compared at a time, 128 MiB."""


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What is to be built in `folder`; everything that a worker needs but encoder and corpus.

    `source` names the corpus, of `n_docs` documents.
    """

    folder: Path
    name: str
    source: str
    n_docs: int
    n_shards: int
    fields: Mapping[str, str] = field(default_factory=dict)
    passages: tuple[int, int] | None = None
    settings: Settings = field(default_factory=Settings)
    memory: str = "1GiB"
    threads: int | None = None
    order_seconds: float = math.inf

    def span(self, number: int) -> tuple[int, int]:
        """The documents [first, last) of a shard.

        >>> plan = ShardPlan(Path("x"), "set", "corpus", n_docs=10, n_shards=4)
        >>> [plan.span(number) for number in range(4)]
        [(0, 2), (2, 5), (5, 7), (7, 10)]
        """
        first, last = (n * self.n_docs // self.n_shards for n in (number, number + 1))
        return first, last

    def shard(self, number: int) -> Path:
        """Where a shard lies."""
        return self.folder / f"shard-{number:03}.index"

    def finished(self, number: int) -> dict[str, Any] | None:
        """What a finished shard reported, None for one that is still to be built."""
        try:
            told: dict[str, Any] = orjson.loads(self._report(number).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return told if self.shard(number).is_dir() else None

    def _report(self, number: int) -> Path:
        return self.folder / f"shard-{number:03}.json"

    def _hashes(self, number: int) -> Path:
        return self.folder / f"shard-{number:03}.npy"


Runner = Callable[[ShardPlan, Sequence[int]], None]
"""Builds the shards of these numbers, with `build_shard`, in whatever order and place."""


def build_shards(
    path: str | Path,
    encoder: SparseEncoder,
    run: Runner,
    *,
    source: str,
    n_docs: int,
    n_shards: int,
    overwrite: bool = False,
    fields: Mapping[str, str] | None = None,
    passages: tuple[int, int] | None = None,
    settings: Settings | None = None,
    memory: str = "1GiB",
    threads: int | None = None,
    order_seconds: float = math.inf,
) -> BuildReport:
    """Build a set of `n_shards` at `path`; the other arguments are those of `build_index`.

    `run` builds each shard that is not there yet. Raises `UsageError` for ids that occur twice,
    in whichever shards, and what a build raises.
    """
    started = time.perf_counter()
    path = Path(path).resolve()
    settings = settings or Settings()
    if is_binary(encoder):
        settings = replace(settings, binary=True)
    if settings.pruning.postings is not None:
        raise UsageError(
            "--prune-postings cuts whole lists, and a shard sees only its part of one: scores "
            "would differ from those of one index. Prune documents: --prune-terms, --prune-mass"
        )
    if not 1 <= n_shards <= n_docs:
        raise UsageError(
            f"{n_shards} shards of {n_docs} documents: wanted at least one document a shard"
        )
    known = holds_index(path)
    if path.exists() and not (overwrite and known):
        what = "" if known else " and is no index; it will not be overwritten"
        raise IndexExists(f"{path} exists{what or '; give --overwrite to replace it'}")
    with changing(path):
        make_directory(path.parent)
    staging = path.with_name(path.name + ".building")
    with changing(path), reserved(staging):
        plan = ShardPlan(
            staging,
            secrets.token_hex(16),
            source,
            n_docs,
            n_shards,
            dict(fields or {}),
            passages,
            settings,
            memory,
            threads,
            order_seconds,
        )
        plan = _resumed(plan, encoder)
        todo = [number for number in range(n_shards) if plan.finished(number) is None]
        n_kept = sum(b - a for a, b in map(plan.span, set(range(n_shards)) - set(todo)))
        try:
            run(plan, todo)
            _refuse_doubles(plan)
        except (DatasetError, EncoderError, UsageError) as error:
            # With shards that others finished it is one machine that has no corpus or encoder.
            whole = any(plan.finished(number) is not None for number in range(n_shards))
            if not (error.may_pass or (whole and not isinstance(error, RepeatedId))):
                emptied(staging)  # the same command would fail again: nothing to resume
                staging.rmdir()
            raise
        told = _put_together(plan, encoder)
        arrive(staging, path)
    return replace(
        told,
        path=path,
        n_resumed=told.n_resumed + n_kept,
        total_s=time.perf_counter() - started,
    )


def one_after_the_other(
    documents: Callable[[], Iterable[Document]], encoder: SparseEncoder
) -> Runner:
    """Build all shards in this process; `documents` streams the corpus from its start."""

    def run(plan: ShardPlan, numbers: Sequence[int]) -> None:
        for number in numbers:
            build_shard(plan, number, documents(), encoder, progress=True)

    return run


def build_shard(
    plan: ShardPlan,
    number: int,
    documents: Iterable[Document],
    encoder: SparseEncoder,
    *,
    progress: bool = False,
) -> None:
    """Build one shard of the plan from its part of the corpus; goes on where a killed one was.

    Raises `DatasetError` for a corpus that has fewer documents than was planned, and what
    `build_index` raises.
    """
    first, last = plan.span(number)
    path = plan.shard(number)
    if path.exists():  # killed between its arrival and its report
        shutil.rmtree(path)
    report = build_index(
        path,
        islice(documents, first, last),
        encoder,
        source=f"{plan.source} {first}:{last}",
        memory=plan.memory,
        fields=plan.fields,
        passages=plan.passages,
        settings=plan.settings,
        threads=plan.threads,
        order_seconds=plan.order_seconds,
        total=last - first,
        progress=progress,
    )
    if report.n_docs != last - first:
        raise DatasetError(
            f"{plan.source}: documents {first} to {last - 1} were to be shard {number}, found "
            f"{report.n_docs:,}; the corpus has changed since it was counted. Start again"
        )
    with Index.open(path, read_only=True) as index:
        numbers = index.catalog.rows("SELECT seq FROM sqlite_sequence WHERE name='documents'")
        shard = Shard(path.name, report.n_docs, int(numbers[0][0]), index.generation)
        hashes = np.fromiter((_hash(doc_id) for doc_id in _ids(index)), np.uint64)
    hashes.sort()
    with atomic_write(plan._hashes(number)) as file:
        file.write(hashes.tobytes())
    write_member(path, set_name=plan.name, number=number)
    told = {"shard": asdict(shard), "report": {**asdict(report), "path": str(path)}}
    with atomic_write(plan._report(number)) as file:
        file.write(orjson.dumps(told))


def _resumed(plan: ShardPlan, encoder: SparseEncoder) -> ShardPlan:
    """The plan under the name of an interrupted one that is the same; its finished shards stay."""
    card = encoder_card(encoder)
    key = [
        plan.source,
        plan.n_docs,
        plan.n_shards,
        [encoder.space, encoder.build, encoder.max_weight],
        [card.text_fields, card.window_overlap],
        sorted(plan.fields.items()),
        plan.passages,
        plan.settings.to_json(),
    ]
    stored = orjson.loads(orjson.dumps(key))
    place = plan.folder / PLAN
    with suppress(FileNotFoundError, ValueError, KeyError):
        before = orjson.loads(place.read_bytes())
        if before["key"] == stored:
            return replace(plan, name=before["name"])
    emptied(plan.folder)
    with atomic_write(place) as file:
        file.write(orjson.dumps({"key": stored, "name": plan.name}))
    return plan


def _put_together(plan: ShardPlan, encoder: SparseEncoder) -> BuildReport:
    """Write `shards.json`, remove what only the build needed, and add up the reports."""
    told = [plan.finished(number) for number in range(plan.n_shards)]
    assert all(told), "the runner returned before all shards were built"
    finished = [one for one in told if one is not None]
    shards = tuple(Shard(**one["shard"]) for one in finished)
    members = ShardSet(
        plan.name, encoder.space, encoder.build, encoder.n_terms, encoder.max_weight, shards
    )
    members.write(plan.folder)
    for number in range(plan.n_shards):
        plan._report(number).unlink()
        plan._hashes(number).unlink()
    (plan.folder / PLAN).unlink()
    reports = [one["report"] for one in finished]
    together = info(reports) | {"encode_s": sum(one["encode_s"] for one in reports)}
    return BuildReport(**{one.name: together[one.name] for one in fields(BuildReport)})


def _refuse_doubles(plan: ShardPlan) -> None:
    """Refuse ids that occur in two shards; within one its build has done so."""
    parts = [np.fromfile(plan._hashes(number), np.uint64) for number in range(plan.n_shards)]
    n_slices = max(1, -(-sum(map(len, parts)) // HASHES_AT_ONCE))
    edges = [np.uint64(n * 2**64 // n_slices) for n in range(1, n_slices)]
    cuts = [[0, *np.searchsorted(part, edges).tolist(), len(part)] for part in parts]
    for at in range(n_slices):
        some = np.sort(
            np.concatenate([p[c[at] : c[at + 1]] for p, c in zip(parts, cuts, strict=True)])
        )
        for value in np.unique(some[1:][some[1:] == some[:-1]]):
            _refuse_double(plan, [n for n, part in enumerate(parts) if _holds(part, value)], value)


def _refuse_double(plan: ShardPlan, numbers: Sequence[int], value: np.uint64) -> None:
    """Different ids may share a hash: look at the ids themselves."""
    seen: dict[str, int] = {}
    for number in numbers:
        with Index.open(plan.shard(number), read_only=True) as index:
            for doc_id in _ids(index):
                if _hash(doc_id) != value:
                    continue
                if doc_id in seen:
                    raise RepeatedId(
                        f"{plan.source}: document id {doc_id!r} occurs twice, in shards "
                        f"{seen[doc_id]} and {number}; wanted distinct ids",
                        doc_id=doc_id,
                    )
                seen[doc_id] = number


def _holds(ascending: npt.NDArray[np.uint64], value: np.uint64) -> bool:
    at = int(np.searchsorted(ascending, value))
    return at < len(ascending) and ascending[at] == value


def _ids(index: Index) -> Iterator[str]:
    with index.catalog.reading() as connection:
        for (doc_id,) in connection.execute("SELECT doc_id FROM documents WHERE passage=0"):
            yield str(doc_id)


def _hash(doc_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(doc_id.encode(), digest_size=8).digest(), "little")
