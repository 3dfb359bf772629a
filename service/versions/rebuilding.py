"""What is asked of the worker to rebuild an index and to go back, checked before it is queued."""

import shutil
from collections.abc import Mapping
from typing import Any

from ..home import Home, versions
from ..home.queue import Task
from ..home.registry import LEARNS, Entry
from ..making import encoder_of
from ..problems import Fault, ProblemError
from ..receiving import submit
from . import gate as gates
from .gate import Gate


def ask_rebuild(home: Home, entry: Entry, wanted: Mapping[str, Any]) -> Task:
    """Queue a rebuild; `wanted` is a `wire.versions.RebuildRequest` as JSON.

    Raises the problems `unknown_encoder`, `unknown_judged`, `invalid_request`, `rebuild_failed`.
    """
    asked = dict(wanted)
    if passages := asked.get("passages"):
        asked["passages"] = [passages["length"], passages["overlap"]]
    if entry.settings.get(LEARNS):
        raise ProblemError(
            "rebuild_failed",
            f"Index '{entry.name}' has no documents yet.",
            hint="Add documents first.",
        )
    if asked.get("encoder") is not None and asked.get("max_weight") is not None:
        message = "an encoder's own card says it; leave one of the two out"
        raise ProblemError(
            "invalid_request", f"/max_weight: {message}.", faults=[Fault("/max_weight", message)]
        )
    if asked.get("encoder") not in (None, "bm25"):
        encoder_of(home, asked["encoder"])
    if asked.get("gate") is not None:
        asked["gate"] = _judged_by_name(home, entry.name, asked["gate"])
        Gate.asked(home, asked["gate"])
    # Of no index, so that the index is written meanwhile; its last step is a task of the index.
    return submit(home, "rebuild", None, {"index": entry.name, **asked})


def _judged_by_name(home: Home, name: str, gate: Mapping[str, Any]) -> dict[str, Any]:
    """The gate with the judged set of the index's own name, if it says nothing else."""
    if gate.get("judged") is not None or gate.get("queries") is not None:
        return dict(gate)
    known = gates.judged_sets(home)
    if name not in known:
        raise ProblemError(
            "unknown_judged",
            f"The gate names no judged queries, and the data directory has none for '{name}': "
            f"wanted judged/{name}.json there, or the name of another set (`judged`, --judged).",
            extensions={"available": known},
        )
    return {**gate, "judged": name}


def ask_rollback(home: Home, entry: Entry) -> Task:
    """Queue the rollback of an index. Raises the problem `nothing_to_roll_back`."""
    kept = versions.versions_of(home, entry.name)
    if not kept:
        raise nothing_kept(entry.name)
    asked = {"version": kept[0].number, "folder": kept[0].path.name}
    return submit(home, "rollback", entry.name, asked)


def nothing_kept(name: str) -> ProblemError:
    """The problem of an index that has no earlier version."""
    return ProblemError(
        "nothing_to_roll_back",
        f"No earlier version of index '{name}' is kept.",
        hint="A rebuild keeps the version it replaces, until it is told to forget it.",
    )


def forget_all(home: Home, name: str) -> int:
    """Delete every earlier version of an index; how many."""
    with home.transaction() as connection:  # a rollback may serve one of them at any other moment
        folders = versions.forget_all(home, connection, name)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(folders)
