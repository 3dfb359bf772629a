"""`lsr snapshot`: copies of live indexes that are verified to the last byte, and back again."""

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import IndexExists, IndexNotFound, UsageError
from . import _printing as out

if TYPE_CHECKING:
    from index import Manifest
    from index.backup import Progress

EXAMPLES = """\b
Examples:
  lsr snapshot create scifact.index --to backups
  lsr snapshot create papers --data server --to /mnt/backups --archive
  lsr snapshot verify backups/*
  lsr snapshot restore backups/scifact-7 again.index
  lsr snapshot restore papers-42 papers-old --data server
  lsr snapshot list --data server
"""

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="The data directory of a server, whose indexes and snapshots go by name.",
)
json_option = click.option("--json", "json", is_flag=True, help="Print JSON.")


@click.group(epilog=EXAMPLES)
def snapshot() -> None:
    """Make, verify, restore and list snapshots of indexes.

    A snapshot is a directory, or with --archive one .tar.zst file. It is taken while others search,
    write and merge, and holds one commit whole. `lsr search` reads it as it is; `restore` makes an
    index of it that may change.
    """


@snapshot.command(epilog=EXAMPLES)
@click.argument("index", metavar="INDEX|NAME")
@data_option
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where it goes; by default DIR/snapshots, or the folder of the index.",
)
@click.option("--archive", is_flag=True, help="Write one .tar.zst file instead of a directory.")
@click.option(
    "--copy",
    is_flag=True,
    help="Copy segments instead of linking them, also where links would do: then no failing block "
    "hits both.",
)
@json_option
def create(
    *, index: str, data: Path | None, to: Path | None, archive: bool, copy: bool, json: bool
) -> None:
    """Copy INDEX as of its newest commit to FOLDER/NAME-GENERATION.

    Where that is a snapshot of another commit, as of an index that was made anew since, it stays,
    and this one is called NAME-GENERATION-2.
    """
    from index.taking import take

    path, name, settings = _index_of(index, data)
    folder = to or (path.parent if data is None else data / "snapshots")
    with _bar("copied") as progress:
        taken = take(
            path,
            folder,
            name,
            settings=settings,
            archive=archive,
            link=not copy,
            progress=progress,
        )
    made, place = taken.manifest, taken.place
    if not taken.fresh:
        raise IndexExists(f"{place} exists, and holds this commit already; nothing was written")
    n_bytes = place.stat().st_size if archive else made.n_bytes
    if json:
        out.as_json({"path": place, "bytes": n_bytes, **_told(made)})
        return
    out.fact("verified", f"{out.counted(len(made.files), 'file')}, every byte")
    what = f"{out.counted(made.n_docs, 'document')} at commit {made.generation}"
    out.fact("wrote", out.columns(str(place), f"{out.size(n_bytes)}, {what}"))
    if made.encoder is not None and made.encoder.get("copy") is None:
        out.fact("without", f"the encoder '{made.encoder['name']}': keep {made.encoder['path']}")
    out.next_step("lsr", "snapshot", "verify", str(place))


@snapshot.command(epilog=EXAMPLES)
@click.argument("snapshots", nargs=-1, required=True)
@data_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context, *, snapshots: tuple[str, ...], data: Path | None, json: bool
) -> None:
    """Read every byte of each of SNAPSHOTS; exit 1 when one is damaged.

    An archive is verified by restoring it, beside itself, and removing that again.
    """
    from index import verify_archive, verify_backup
    from index.archive import SUFFIX

    verdicts = []
    for text in snapshots:
        path = _snapshot_of(text, data)
        with _bar("verified") as progress:
            if path.name.endswith(SUFFIX):
                verdicts.append((path, verify_archive(path, progress=progress)))
            else:
                verdicts.append((path, verify_backup(path, progress=progress)))
    damaged = [path for path, verdict in verdicts if not verdict.sound]
    if json:
        out.as_json(
            [
                {"path": p, "sound": v.sound, "bytes": v.n_bytes, "problems": v.problems}
                for p, v in verdicts
            ]
        )
        ctx.exit(1 if damaged else 0)
    for path, verdict in verdicts:
        if verdict.sound and verdict.manifest is not None:
            what = f"100 % of {out.size(verdict.n_bytes)} read, " + out.counted(
                verdict.manifest.n_docs, "document"
            )
            out.fact("sound", out.columns(str(path), what))
        for problem in verdict.problems:
            out.fact("damaged", f"{path}: {problem}")
    if damaged:
        out.fact("next", f"delete {damaged[0]} and take another snapshot")
    else:
        out.next_step("lsr", "snapshot", "restore", str(verdicts[0][0]), "NEW.index")
    ctx.exit(1 if damaged else 0)


@snapshot.command(epilog=EXAMPLES)
@click.argument("snapshot", metavar="SNAPSHOT")
@click.argument("target", metavar="INDEX|NAME")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The data directory of a server, made where there is none, that gets NAME; SNAPSHOT "
    "is one of its own, or a path.",
)
@json_option
def restore(*, snapshot: str, target: str, data: Path | None, json: bool) -> None:
    """Make the new index INDEX of a snapshot or an archive, verified as it is read.

    With --data it becomes the index NAME of that directory, at once also of a server that runs.
    """
    from index import restore as restore_folder
    from index import unpack
    from index.archive import SUFFIX

    path = _snapshot_of(snapshot, data)
    make = unpack if path.name.endswith(SUFFIX) else restore_folder
    with _bar("restored") as progress:
        if data is None:
            place = Path(target)
            told = make(path, place, progress=progress)
        else:
            from service.home import Home
            from service.versions.snapshots import restore_as

            if not path.exists():  # make no data directory for nothing
                raise IndexNotFound(f"{path}: no such snapshot")
            with Home.open(data) as home:
                told, place = restore_as(home, path, target, progress=progress)
    if json:
        out.as_json({"path": place, **_told(told)})
        return
    out.fact("verified", f"{out.counted(len(told.files), 'file')}, every byte")
    what = f"{out.counted(told.n_docs, 'document')} as of commit {told.generation}"
    out.fact("restored", out.columns(str(place), f"{out.size(told.n_bytes)}, {what}"))
    out.next_step("lsr", "search", str(place), "your question")


@snapshot.command("list", epilog=EXAMPLES)
@click.argument(
    "folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@data_option
@json_option
def list_(*, folder: Path | None, data: Path | None, json: bool) -> None:
    """List the snapshots in FOLDER, or in a data directory."""
    from index import snapshots_in
    from index.archive import SUFFIX

    if (folder is None) == (data is None):
        raise UsageError("name either a FOLDER of snapshots or a data directory with --data DIR")
    where = folder if data is None else data / "snapshots"
    assert where is not None
    found = snapshots_in(where)
    archives = sorted(path for path in where.glob(f"[!.]*{SUFFIX}") if path.is_file())
    if json:
        told = [{"path": p, **({} if m is None else _told(m))} for p, m in found]
        out.as_json([*told, *({"path": path, "bytes": path.stat().st_size} for path in archives)])
        return
    for path, manifest in found:
        if manifest is None:
            out.fact("unreadable", str(path))
            continue
        when = datetime.datetime.fromtimestamp(manifest.created).astimezone()
        n_docs = out.counted(manifest.n_docs, "document")
        what = f"{n_docs}, {out.size(manifest.n_bytes)}, {when:%Y-%m-%d %H:%M}"
        out.fact("snapshot", out.columns(path.name, what))
    for path in archives:
        out.fact("archive", out.columns(path.name, out.size(path.stat().st_size)))
    if found or archives:
        last = archives[-1] if archives else found[-1][0]
        out.next_step("lsr", "snapshot", "verify", str(last))
    else:
        out.fact("none", f"in {where}")
        out.next_step("lsr", "snapshot", "create", "INDEX", "--to", str(where))


def _index_of(text: str, data: Path | None) -> tuple[Path, str, Mapping[str, Any] | None]:
    """Where an index lies, what it is called, and what a server keeps of it."""
    if data is None:
        path = Path(text)
        return path, path.resolve().name.removesuffix(".index"), None
    from service.home import Home
    from service.home.registry import Registry

    with Home.open(data) as home:
        entry = Registry.read(home).resolve(text)
    return entry.path, entry.name, entry.settings


def _snapshot_of(text: str, data: Path | None) -> Path:
    """A path, or a name among the snapshots of a data directory."""
    if data is None or Path(text).exists():
        return Path(text)
    if "/" in text or text.startswith("."):
        raise UsageError(
            f"{text}: wanted the name of a snapshot in {data / 'snapshots'}, or a path"
        )
    return data / "snapshots" / text


def _told(made: "Manifest") -> dict[str, object]:
    return {
        "name": made.name,
        "generation": made.generation,
        "n_docs": made.n_docs,
        "n_bytes": made.n_bytes,
        "created": made.created,
        "encoder": made.encoder,
        "lsr": made.lsr,
    }


@contextmanager
def _bar(desc: str) -> "Iterator[Progress]":
    """A bar of bytes."""
    from ..progress import Bar, bar

    counter: Bar[None] = bar(total=None, unit="bytes", desc=desc)

    def show(done: int, total: int) -> None:
        counter.total = total
        counter.update(done - counter.n)

    with counter:
        yield show
