"""`lsr tasks`: what a server works on, did and will do."""

import datetime
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _printing as out

if TYPE_CHECKING:
    from service.home.queue import Task

EXAMPLES = """\b
Examples:
  lsr tasks list --data server --state failed
  lsr tasks show 118 --data server
  lsr tasks wait 118 --data server
  lsr tasks cancel 118 --data server
"""

STATES = ("receiving", "queued", "running", "succeeded", "failed", "canceled")
_DATA = click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="The data directory of the server, which may be running.",
)
_JSON = click.option("--json", "json", is_flag=True, help="Print JSON.")
_NUMBER = click.argument("number", type=click.IntRange(min=1), metavar="NUMBER")


@click.group(epilog=EXAMPLES, subcommand_metavar="list|show|wait|cancel ...")
def tasks() -> None:
    """List, show, wait for and cancel the tasks of a data directory."""


@tasks.command("list", epilog=EXAMPLES)
@_DATA
@click.option("--index", metavar="NAME", help="Only of this index.")
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@_JSON
def list_(*, data: Path, index: str | None, state: str | None, limit: int, json: bool) -> None:
    """The newest tasks first."""
    from service.home import Home, queue

    with Home.open(data) as home:
        found = queue.tasks_of(home, index=index, state=state, limit=limit)
    if json:
        out.as_json([_told(task) for task in found])
        return
    for task in found:
        out.fact(str(task.id), _line(task))
    if not found:
        out.fact("none", "no such tasks")
        out.next_step("lsr", "doctor", "--data", str(data))
        return
    out.next_step("lsr", "tasks", "show", str(found[0].id), "--data", str(data))


@tasks.command(epilog=EXAMPLES)
@_NUMBER
@_DATA
@_JSON
def show(*, number: int, data: Path, json: bool) -> None:
    """Everything that is known of one task."""
    from service.home import Home, queue

    with Home.open(data) as home:
        task = queue.task_of(home, number)
    if json:
        out.as_json(_told(task))
        return
    _print(task)
    verb = "list" if task.over else "wait"
    rest = [] if task.over else [str(number)]
    out.next_step("lsr", "tasks", verb, *rest, "--data", str(data))


@tasks.command(epilog=EXAMPLES)
@_NUMBER
@_DATA
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer.")
@_JSON
def wait(*, number: int, data: Path, timeout: float | None, json: bool) -> None:
    """Wait until a task is over; exit 1 when it failed, was canceled, or time is up."""
    from service.home import Home, queue

    from ._data import POLL_S, TaskFailedError, checked

    give_up = None if timeout is None else time.monotonic() + timeout
    with Home.open(data) as home:
        while not (task := queue.task_of(home, number)).over:
            if give_up is not None and time.monotonic() > give_up:
                raise TaskFailedError(f"task {number} is still {task.state} after {timeout:g} s")
            time.sleep(POLL_S)
    if json:
        out.as_json(_told(task))
        if task.state == "succeeded":
            return
    task = checked(task)
    _print(task)
    out.next_step("lsr", "tasks", "list", "--data", str(data))


@tasks.command(epilog=EXAMPLES)
@_NUMBER
@_DATA
@_JSON
def cancel(*, number: int, data: Path, json: bool) -> None:
    """Ask a task to end; one that runs ends between two commits, and what it committed stays."""
    from service.home import Home, queue

    with Home.open(data) as home:
        queue.task_of(home, number)
        task = queue.cancel(home, number)
    if json:
        out.as_json(_told(task))
        return
    out.fact(str(number), _line(task) if task.over else f"{task.kind}, is asked to end")
    out.next_step("lsr", "tasks", "wait", str(number), "--data", str(data))


def _print(task: "Task") -> None:
    out.fact(str(task.id), _line(task))
    for key, value in (task.details or {}).items():
        if not isinstance(value, list | dict):
            out.fact(f"{key:.10}", str(value))
    if task.error is not None:
        out.fact("error", f"{task.error['code']}: {task.error['detail']}")


def _line(task: "Task") -> str:
    where = task.index or task.request.get("index") or "-"
    when = datetime.datetime.fromtimestamp(task.created).astimezone()
    took = ""
    if task.started is not None and task.finished is not None:
        took = f", {out.duration(task.finished - task.started)}"
    elif task.progress is not None:
        done, total = task.progress["done"], task.progress.get("total")
        took = f", {done:,}" + (f" of {total:,}" if total else "")
    return out.columns(f"{task.kind} {where}", f"{task.state}{took}, {when:%Y-%m-%d %H:%M}")


def _told(task: "Task") -> dict[str, Any]:
    return {
        "id": task.id,
        "kind": task.kind,
        "index": task.index or task.request.get("index"),
        "state": task.state,
        "created": task.created,
        "started": task.started,
        "finished": task.finished,
        "progress": task.progress,
        "details": task.details,
        "error": task.error,
    }
