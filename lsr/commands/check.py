"""`lsr check`: is every byte of an index what its checksums say."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import _printing as out

if TYPE_CHECKING:
    from index import CheckReport

EXAMPLES = """\b
Examples:
  lsr check scifact.index
  lsr check *.index --json
"""


@click.command(epilog=EXAMPLES)
@click.argument("indexes", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "json", is_flag=True, help="Print one JSON list.")
@click.pass_context
def check(ctx: click.Context, *, indexes: tuple[Path, ...], json: bool) -> None:
    """Read and verify every byte of each of INDEXES; exit 1 when one is damaged or missing."""
    from index import CheckReport, Index

    from ..errors import IndexCorrupt, IndexFailure, UsageError

    reports: list[tuple[Path, CheckReport]] = []
    unread: set[Path] = set()
    for path in indexes:
        try:
            with Index.open(path, read_only=True) as index:
                report = index.check()
        except IndexCorrupt as error:  # too damaged to open is a finding, not a failure to look
            report = CheckReport(0, 0, 0, (str(error),))
        except (IndexFailure, UsageError) as error:  # the others are to be looked at all the same
            if len(indexes) == 1:
                raise
            report = CheckReport(0, 0, 0, (str(error),))
            unread.add(path)
        reports.append((path, report))
    if json:
        out.as_json([{"path": path, "sound": r.sound, **asdict(r)} for path, r in reports])
    else:
        for path, report in reports:
            if report.sound:
                what = f"{out.counted(report.n_documents, 'document')} in " + out.counted(
                    report.n_segments, "segment"
                )
                out.fact(
                    "sound", out.columns(str(path), f"{what}, {out.size(report.n_bytes)} read")
                )
            for problem in report.problems:
                if path in unread:
                    out.fact("unread", problem)
                else:
                    out.fact("damaged", f"{path}: {problem}")
    damaged = [path for path, report in reports if not report.sound and path not in unread]
    if damaged and not json:
        mended = next((path for path, report in reports if _is_mendable(path, report)), None)
        if mended is not None:
            out.next_step("lsr", "repair", str(mended))
        else:
            out.fact("next", f"restore a copy of {damaged[0]}, or build it again with lsr index")
    ctx.exit(1 if damaged or unread else 0)


def _is_mendable(path: Path, report: "CheckReport") -> bool:
    """Whether every damage is to segments of an index of its own: broken ones are named by their
    whole path, sound ones that contradict the catalog by `segments/...`.
    """
    return (
        (path / "catalog.sqlite").is_file()
        and not report.sound
        and all("/segments/" in one or ".seg: missing" in one for one in report.problems)
    )
