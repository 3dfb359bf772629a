"""What a server keeps: indexes, documents, tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .results import Notice


@dataclass(frozen=True)
class IndexSummary:
    """One served index; counts are None until it is open."""

    name: str
    state: str
    generation: int | None = None
    n_docs: int | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class IndexList:
    """All served indexes."""

    indexes: tuple[IndexSummary, ...]


@dataclass(frozen=True)
class EncoderInfo:
    """The encoder that an index was built by."""

    name: str
    space: str
    build: str
    query_strategy: str
    text_fields: tuple[str, ...]
    window_overlap: int | None


@dataclass(frozen=True)
class PruningInfo:
    """What was left out of an index; None leaves nothing out."""

    terms: int | None
    mass: float | None
    postings: float | None
    ratio: float | None


@dataclass(frozen=True)
class Passages:
    """How long documents are split: windows of `length` words that share `overlap` of them."""

    length: int
    overlap: int = 0


@dataclass(frozen=True)
class IndexInfo:
    """Counts and sizes of one index, how it was built and what rounding cost."""

    name: str
    generation: int
    n_docs: int
    n_passages: int
    n_deleted: int
    n_pending: int
    n_segments: int
    n_terms: int
    n_postings: int
    postings_per_passage: float
    max_weight: float
    scale: float
    saturated_share: float
    order: str
    n_ordered: int
    pruning: PruningInfo
    binary: bool
    scores: str
    given_postings: int
    mass_kept: float
    error_mean: float
    error_max: float
    norm_error: float
    segment_bytes: int
    search_bytes: int
    catalog_bytes: int
    fields: Mapping[str, str]
    encoder: EncoderInfo | None
    queries: tuple[str, ...]
    passages: Passages | None
    warnings: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class StoredDocument:
    """One document as it was given. `version` is what `if_match` takes."""

    index: str
    id: str
    version: int
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class WrittenDocument:
    """A document that is durable and searchable; `empty` when it has no term to be found by."""

    index: str
    id: str
    version: int
    generation: int
    empty: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a task is: `total`, `rate` (a second) and `eta_s` are None while unknown."""

    done: int
    total: int | None
    rate: float | None
    eta_s: float | None


@dataclass(frozen=True)
class TaskError:
    """Why a task failed, or what it waits for."""

    code: str
    detail: str
    hint: str | None


@dataclass(frozen=True)
class Task:
    """Long work and how far it is. Times are seconds since 1970."""

    id: int
    kind: str
    index: str | None
    state: str
    created: float
    started: float | None
    finished: float | None
    progress: Progress | None
    details: Mapping[str, Any] | None
    error: TaskError | None
    cancelable: bool

    @property
    def over(self) -> bool:
        """Whether it has succeeded, failed or been cancelled."""
        return self.finished is not None


@dataclass(frozen=True)
class TaskList:
    """Tasks, the newest first; `next_before` continues the list."""

    tasks: tuple[Task, ...]
    next_before: int | None


@dataclass(frozen=True)
class Reject:
    """One line of an ingestion that was refused, counted from 1."""

    line: int
    code: str
    detail: str
    pointer: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Added:
    """What became of documents that were sent: counts over all batches, their tasks, the first
    rejected documents (by number, from 1). `empty` were indexed but have no term to be found by.

    With `ack="logged"` nothing but `received` is known yet: wait for the tasks.
    """

    received: int
    indexed: int
    rejected: int
    rejects: tuple[Reject, ...]
    generation: int | None
    tasks: tuple[int, ...]
    empty: int = 0


@dataclass(frozen=True)
class Verified:
    """How much of an index has been read to its last byte since it was opened."""

    bytes: int
    of: int


@dataclass(frozen=True)
class Check:
    """One index, how far its opening is, and why it could not be opened."""

    index: str
    state: str
    step: str
    seconds: float | None
    verified: Verified | None
    reason: str | None = None
    warnings: tuple[str, ...] | None = None


@dataclass(frozen=True)
class HomeCheck:
    """What the worker of the data directory has yet to do."""

    worker: str
    waiting_tasks: int
    log_bytes: int


@dataclass(frozen=True)
class Ready:
    """Whether every index is open; `checks` tell of each."""

    status: str
    checks: tuple[Check, ...]
    data: HomeCheck | None = None


@dataclass(frozen=True)
class ServerInfo:
    """Which software answers, and within which limits."""

    name: str
    version: str
    api: str
    versions: Mapping[str, str]
    limits: Mapping[str, Any]
    indexes: tuple[str, ...]


@dataclass(frozen=True)
class AliasInfo:
    """What an alias means; `since` in seconds since 1970."""

    alias: str
    index: str
    since: float


@dataclass(frozen=True)
class AliasList:
    """Every alias, by name."""

    aliases: tuple[AliasInfo, ...]


@dataclass(frozen=True)
class GateResult:
    """What a gate measured: means over the judged queries, paired by query."""

    alias: str
    measure: str
    judged: str | None
    n_queries: int
    min_delta: float
    old: float | None
    new: float
    delta: float | None
    p_value: float | None
    passed: bool
    low: float | None = None
    high: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None


@dataclass(frozen=True)
class AliasChange:
    """One change; `index` is None for an alias that was removed, `previous` for a new one."""

    number: int
    alias: str
    index: str | None
    previous: str | None
    at: float
    why: Mapping[str, Any]


@dataclass(frozen=True)
class AliasChanges:
    """What was changed, and what the gate measured."""

    changes: tuple[AliasChange, ...]
    gates: tuple[GateResult, ...]


@dataclass(frozen=True)
class AliasHistory:
    """The newest changes first."""

    changes: tuple[AliasChange, ...]


@dataclass(frozen=True)
class SnapshotInfo:
    """One snapshot of the index `of`; of an archive, which tells them only when it is read, the
    rest is None. `readable` is False where the manifest itself is damaged, None
    for an archive, which only verifying reads.
    """

    name: str
    readable: bool | None
    archive: bool
    of: str | None
    generation: int | None
    n_docs: int | None
    bytes: int | None
    created: float | None
    encoder: str | None


@dataclass(frozen=True)
class SnapshotList:
    """All snapshots, by name."""

    snapshots: tuple[SnapshotInfo, ...]


@dataclass(frozen=True)
class VersionInfo:
    """An earlier version of an index, in service `until` then (seconds since 1970)."""

    version: int
    until: float
    n_docs: int | None
    encoder: str | None
    bytes: int
    why: Mapping[str, Any]


@dataclass(frozen=True)
class VersionList:
    """Earlier versions of an index, the newest first."""

    versions: tuple[VersionInfo, ...]
