"""Where a command may write a run: over no input of its own, and over no file that is none."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import DatasetError, UsageError
from ..files import open_descriptor, read_lines
from . import _printing as out


def require_place(output: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse, before any work, to replace what the command reads or what is no run.

    A run may take the place of an earlier one. Where `output` is standard output, facts go to
    standard error. Raises `UsageError`.
    """
    descriptor = open_descriptor(output)
    if descriptor is not None:
        if descriptor == 1:
            out.leave_output()
        return
    if not output.is_file():
        return
    for given in inputs:
        if given is not None and given.is_file() and given.samefile(output):
            raise UsageError(
                f"{output} is read by this command, and what it writes would take its place; name "
                "another file"
            )
    if output.stat().st_size and not _is_run(output):
        raise UsageError(
            f"{output} is there and no TREC run, which may be replaced; name another file, or "
            "remove this one"
        )


def _is_run(path: Path) -> bool:
    """Whether the first line is `query_id Q0 doc_id rank score tag`."""
    try:
        _, line = next(read_lines(path), (0, b""))
        _, _, _, _, score, _ = line.split()
        float(score)
    except (DatasetError, ValueError):
        return False
    return True
