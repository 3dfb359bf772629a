"""Aliases, snapshots and earlier versions of indexes, as requests."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

from .resources import (
    AliasChange,
    AliasChanges,
    AliasHistory,
    AliasInfo,
    AliasList,
    Passages,
    SnapshotInfo,
    SnapshotList,
    Task,
    VersionInfo,
    VersionList,
)
from .steps import Request, Talk, address, call, said, succeed
from .tasks import wait


@dataclass(frozen=True)
class AddAlias:
    """A new alias."""

    alias: str
    index: str


@dataclass(frozen=True)
class SwapAlias:
    """Another index for an alias; without `must_exist` the alias may be new."""

    alias: str
    index: str
    must_exist: bool = True


@dataclass(frozen=True)
class RemoveAlias:
    """An alias less; without `must_exist` it may be gone already."""

    alias: str
    must_exist: bool = True


AliasAction: TypeAlias = AddAlias | SwapAlias | RemoveAlias
_NAMES: Mapping[type[AliasAction], str] = {
    AddAlias: "add",
    SwapAlias: "swap",
    RemoveAlias: "remove",
}


@dataclass(frozen=True)
class Gate:
    """Let nothing through that loses more than `min_delta` of a measure over judged queries.

    Either `judged`, the name of a set that the server has, or `queries` (text by id) and `qrels`
    (grade by document by query).
    """

    judged: str | None = None
    queries: Mapping[str, str] | None = None
    qrels: Mapping[str, Mapping[str, int]] | None = None
    measure: str = "nDCG@10"
    min_delta: float = -0.005

    def as_json(self) -> dict[str, Any]:
        """As the API takes it."""
        queries = None
        if self.queries is not None:
            queries = [{"id": query_id, "text": text} for query_id, text in self.queries.items()]
        qrels = None
        if self.qrels is not None:
            qrels = {query_id: dict(grades) for query_id, grades in self.qrels.items()}
        return said(
            judged=self.judged,
            queries=queries,
            qrels=qrels,
            measure=self.measure,
            min_delta=self.min_delta,
        )


def list_aliases() -> Talk[tuple[AliasInfo, ...]]:
    """What every alias means."""
    request = Request("GET", "/v1/aliases", repeatable=True)
    return (yield from call(request, AliasList)).aliases


def change_aliases(
    actions: Sequence[AliasAction], *, gate: Gate | None = None
) -> Talk[AliasChanges]:
    """All actions or none. Raises `Refused` where the gate lets one of them not through."""
    body: dict[str, Any] = {"actions": [{_NAMES[type(one)]: asdict(one)} for one in actions]}
    if gate is not None:
        body["gate"] = gate.as_json()
    return (yield from call(Request("POST", "/v1/aliases", json=body), AliasChanges))


def alias_history(alias: str) -> Talk[tuple[AliasChange, ...]]:
    """What an alias meant, the newest change first."""
    request = Request("GET", address("v1", "aliases", alias, "history"), repeatable=True)
    return (yield from call(request, AliasHistory)).changes


def roll_back_alias(alias: str) -> Talk[AliasChange]:
    """Let it mean again what it meant before its last change; a second time undoes the first."""
    request = Request("POST", address("v1", "aliases", alias, "rollback"))
    return (yield from call(request, AliasChange))


def create_snapshot(
    index: str, *, archive: bool = False, timeout: float | None = None
) -> Talk[str]:
    """Copy one commit of an index; the name of the snapshot once every byte is verified.

    Raises `TaskFailed`, and `TimeoutError` after `timeout` seconds; so do the two below.
    """
    body = {"index": index, "archive": archive}
    task = yield from _done(Request("POST", "/v1/snapshots", json=body), timeout)
    return str((task.details or {})["snapshot"])


def verify_snapshot(name: str, *, timeout: float | None = None) -> Talk[Task]:
    """Read every byte of a snapshot."""
    return (yield from _done(Request("POST", _place(name, "verify")), timeout))


def restore_snapshot(name: str, *, index: str, timeout: float | None = None) -> Talk[Task]:
    """Make the new index `index` of a snapshot."""
    request = Request("POST", _place(name, "restore"), json={"index": index})
    return (yield from _done(request, timeout))


def list_snapshots() -> Talk[tuple[SnapshotInfo, ...]]:
    """All snapshots, by name."""
    request = Request("GET", "/v1/snapshots", repeatable=True)
    return (yield from call(request, SnapshotList)).snapshots


def snapshot(name: str) -> Talk[SnapshotInfo]:
    """What the manifest of one snapshot says."""
    return (yield from call(Request("GET", _place(name), repeatable=True), SnapshotInfo))


def delete_snapshot(name: str) -> Talk[None]:
    """The copy and everything in it."""
    yield from succeed(Request("DELETE", _place(name)))


def rebuild(
    index: str,
    *,
    encoder: str | None = None,
    max_weight: float | None = None,
    order: Literal["none", "bp"] | None = None,
    passages: Passages | None = None,
    gate: Gate | None = None,
    timeout: float | None = None,
) -> Talk[Task]:
    """Make a new version of the same documents while the index goes on; the old one is kept.

    Raises `TaskFailed` where the gate keeps the old version.
    """
    body = said(
        encoder=encoder,
        max_weight=max_weight,
        order=order,
        passages=None if passages is None else asdict(passages),
        gate=None if gate is None else gate.as_json(),
    )
    path = address("v1", "indexes", index, "rebuild")
    return (yield from _done(Request("POST", path, json=body), timeout))


def roll_back(index: str, *, timeout: float | None = None) -> Talk[Task]:
    """Let the version before the last rebuild serve again; a second time undoes the first."""
    path = address("v1", "indexes", index, "rollback")
    return (yield from _done(Request("POST", path), timeout))


def list_versions(index: str) -> Talk[tuple[VersionInfo, ...]]:
    """What `roll_back` can go back to, the newest first."""
    request = Request("GET", address("v1", "indexes", index, "versions"), repeatable=True)
    return (yield from call(request, VersionList)).versions


def forget_versions(index: str) -> Talk[None]:
    """Free the disk space of earlier versions."""
    yield from succeed(Request("DELETE", address("v1", "indexes", index, "versions")))


def _done(request: Request, timeout: float | None) -> Talk[Task]:
    task = yield from call(replace(request, parameters={"wait": 0}), Task)
    return (yield from wait(task.id, timeout=timeout))


def _place(name: str, *parts: str) -> str:
    return address("v1", "snapshots", name, *parts)
