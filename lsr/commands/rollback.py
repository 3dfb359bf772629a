"""`lsr rollback`: back to what an alias or an index was before."""

import datetime
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from . import _printing as out

if TYPE_CHECKING:
    from service.home import Home
    from service.home.aliases import Change
    from service.home.registry import Entry

EXAMPLES = """\b
Examples:
  lsr rollback papers --data server            an alias, or an index that was rebuilt
  lsr rollback papers --data server --history
  lsr rollback papers --data server --forget   free the disk space of earlier versions
  lsr rollback papers.index --commit           the segments before the last merge
"""


@click.command(epilog=EXAMPLES)
@click.argument("name")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="The data directory of the server, which may be running.",
)
@click.option(
    "--commit", is_flag=True, help="NAME is the path of an index: undo its last merge of segments."
)
@click.option("--history", is_flag=True, help="Only tell what it was before.")
@click.option("--forget", is_flag=True, help="Delete the earlier versions of an index.")
@click.option("--json", "json", is_flag=True, help="Print JSON.")
def rollback(
    *, name: str, data: Path | None, commit: bool, history: bool, forget: bool, json: bool
) -> None:
    """Let NAME be again what it was before its last change.

    An alias means the index that it meant before, at once. An index that was rebuilt serves its
    version from before, with everything that was written since. A second time undoes the first.

    With --commit an index goes back to the segments before its last merge, as it does by itself
    when that left a damaged one; possible until the new segment was read again.
    """
    if commit == (data is not None):
        raise UsageError(
            "name either an alias or index of a --data directory, or an index --commit"
        )
    if data is None:
        _undo_merge(Path(name), json=json)
        return
    from service.home import Home, aliases
    from service.home.registry import Registry

    with Home.open(data) as home:
        names = Registry.read(home)
        if name in names.aliases and not forget:
            if history:
                _alias_history(aliases.history_of(home, name), json=json)
                return
            started = time.perf_counter()
            change = aliases.rollback(home, name)
            took = time.perf_counter() - started
            if json:
                out.as_json({"alias": name, "index": change.index, "previous": change.previous})
                return
            out.fact("rolled", out.columns(name, f"from {change.previous} to {change.index}"))
            out.fact("took", out.duration(took))
            out.next_step("lsr", "rollback", name, "--data", str(data), "--history")
            return
        _index(home, names.resolve(name), data, history=history, forget=forget, json=json)


def _undo_merge(path: Path, *, json: bool) -> None:
    from index import Index

    with Index.open(path) as index:
        number = index.undo_merge()
        told = index.fallbacks()[-1]
    if json:
        out.as_json({"path": path, **told})
        return
    out.fact("went back", f"from the merge of commit {told['undone']}, as commit {number}")
    out.next_step("lsr", "check", str(path))


def _index(
    home: "Home", entry: "Entry", data: Path, *, history: bool, forget: bool, json: bool
) -> None:
    from service.home import versions
    from service.versions.rebuilding import ask_rollback, forget_all

    from ._data import seen_through

    if history:
        kept = versions.versions_of(home, entry.name)
        if json:
            out.as_json(
                [{"version": one.number, "until": one.until, "why": one.why} for one in kept]
            )
            return
        for one in kept:
            out.fact("version", out.columns(str(one.number), f"until {_when(one.until)}"))
        if not kept:
            out.fact("none", f"no earlier version of '{entry.name}' is kept")
        out.next_step("lsr", "rollback", entry.name, "--data", str(data))
        return
    if forget:
        n = forget_all(home, entry.name)
        if json:
            out.as_json({"index": entry.name, "forgotten": n})
            return
        out.fact("forgot", out.counted(n, "version"))
        out.next_step("lsr", "doctor", "--data", str(data))
        return
    started = time.perf_counter()
    task = seen_through(home, ask_rollback(home, entry), "rolled")
    details = dict(task.details or {})
    if json:
        out.as_json({"task": task.id, **details})
        return
    caught_up = out.counted(int(details["caught_up"]), "change")
    out.fact("rolled", out.columns(entry.name, f"{caught_up} made since brought over"))
    out.fact("took", out.duration(time.perf_counter() - started))
    out.next_step("lsr", "rollback", entry.name, "--data", str(data), "--history")


def _alias_history(changes: "list[Change]", *, json: bool) -> None:
    if json:
        out.as_json([asdict(one) for one in changes])
        return
    for one in changes:
        meant = one.index or "nothing"
        action = one.why.get("action", "changed")
        out.fact(f"{one.number}", out.columns(meant, f"{action}, {_when(one.at)}"))
    if len(changes) > 1:
        out.fact("next", "without --history the first of these is taken back")


def _when(at: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S}"
