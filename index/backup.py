"""Snapshots on disk, made: a consistent copy of a live index, verified to the last byte.

    NAME/                    arrives by a rename when everything in it is durable
      manifest.json          what there is, with SHA-256 (manifest.py)
      catalog.sqlite         SQLite's own online copy, of one commit
      segments/*.seg         hard links to the files of that commit, copies where linking fails
      encoder/               as in the index

Others add, delete, seal and merge meanwhile. The catalog is copied in one read transaction; the
segments it names are held by shared flocks, as readers hold them, until they are linked. A snapshot
opens like an index, for reading; `restoring.py` makes an index of it that may change.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lsr.errors import IndexCorrupt, IndexExists, IndexFailure
from lsr.files import changing, make_directory

from . import manifest as manifests
from .arrival import arrive, cleared, emptied, reserved, sync_tree
from .catalog import FILE_NAME as CATALOG
from .catalog import Catalog
from .changes import abandon_build
from .database import select
from .fallback import drop_undo, undos
from .layout import remedy
from .maintenance import forget_versions
from .manifest import File, Manifest
from .notes import drop_notes
from .snapshot import OpenSegment

COPY_TRIES = 5
"""A merge may retire and remove a segment between the copy of the catalog and our opening it."""

_CHUNK = 1 << 22

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


def backup(
    directory: Path,
    target: Path,
    *,
    name: str | None = None,
    link: bool = True,
    progress: Progress | None = None,
) -> Manifest:
    """Copy the index in `directory`, at its newest commit, into the new snapshot `target`.

    `name` is how it is listed, by default the directory's. `link` shares segment files where the
    file system can: instant, and no protection against a failing disk. Every byte is read and
    verified. Raises `IndexExists`, `IndexCorrupt` for an index that is damaged, `DiskFull`.
    """
    target = Path(target)
    staging = target.with_name(f".{target.name}.making")
    _refuse_existing(target)
    made, _ = _back_up(
        directory,
        staging,
        lambda _: target,
        name=name or directory.name,
        settings=None,
        link=link,
        progress=progress,
    )
    return made


def backup_into(
    directory: Path,
    folder: Path,
    name: str,
    *,
    settings: Mapping[str, Any] | None = None,
    link: bool = True,
    progress: Progress | None = None,
) -> tuple[Manifest, Path]:
    """As `backup`, to `folder/NAME-GENERATION`; also that place. `settings` go with it."""
    return _back_up(
        directory,
        Path(folder) / f".{name}.making",
        lambda made: folder / f"{name}-{made.generation}",
        name=name,
        settings=settings,
        link=link,
        progress=progress,
    )


def _back_up(
    directory: Path,
    staging: Path,
    place: Callable[[Manifest], Path],
    *,
    name: str,
    settings: Mapping[str, Any] | None,
    link: bool,
    progress: Progress | None,
) -> tuple[Manifest, Path]:
    with changing(staging):
        make_directory(staging.parent)
    with changing(staging), reserved(staging), cleared(staging):
        emptied(staging)
        held = _copy_catalog(directory, staging)
        (staging / "segments").mkdir()
        for file, _ in held:
            _link(directory / "segments" / file, staging / "segments" / file, link=link)
        if (directory / "encoder").is_dir():
            _copy_encoder(directory / "encoder", staging / "encoder")
        for _, one in held:
            one.segment.verify_checksums()
        with catalog_in(staging, read_only=True) as catalog:
            generation, n_docs = catalog.generation(), n_live(catalog)
            committed = catalog.committed_at()
            card = catalog.meta("encoder")
        made = Manifest(
            name=name,
            created=time.time(),
            generation=generation,
            n_docs=n_docs,
            encoder=card,
            files=_hashed(staging, progress),
            committed=committed,
            settings=settings,
        )
        target = place(made)
        _refuse_existing(target)
        sync_tree(staging)
        made.write(staging)
        arrive(staging, target)
    return made, target


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise IndexExists(f"{target} exists; choose another name for the snapshot")


def _copy_catalog(directory: Path, staging: Path) -> list[tuple[str, OpenSegment]]:
    """Copy the catalog as of one commit and open every segment that it names."""
    for attempt in range(COPY_TRIES):
        with catalog_in(directory, read_only=True) as source:
            source.copy_to(staging / CATALOG)
        with catalog_in(staging) as copied:
            _leave_published(copied)
            names = [str(file) for (file,) in copied.rows("SELECT file FROM segments")]
        held = []
        try:
            for file in names:
                held.append((file, OpenSegment(directory / "segments" / file)))
        except FileNotFoundError as error:
            if attempt == COPY_TRIES - 1:
                raise IndexCorrupt(
                    f"{error.filename}: the catalog names this segment but the file is gone",
                    remedy=remedy(error.filename),
                ) from error
            (staging / CATALOG).unlink()
            continue
        return held
    raise AssertionError("unreachable")


def _leave_published(copied: Catalog) -> None:
    """Take out of a copied catalog what nobody may see: builds under way, retired segments."""
    with copied.transaction() as connection:
        for (build,) in select(connection, "SELECT build FROM builds WHERE published IS NULL"):
            gone = select(connection, "SELECT file FROM segments WHERE added=?", (-int(build),))
            abandon_build(connection, int(build))
            drop_notes(connection, [str(file) for (file,) in gone])
        for undo in undos(connection):  # what it leads back to is not copied
            forget_versions(connection, [(docid,) for docid in undo.gone])
            drop_undo(connection, undo.number)
        retired = select(connection, "SELECT file FROM segments WHERE retired IS NOT NULL")
        connection.execute("DELETE FROM segments WHERE retired IS NOT NULL")
        drop_notes(connection, [str(file) for (file,) in retired])


@contextmanager
def catalog_in(directory: Path, *, read_only: bool = False) -> Iterator[Catalog]:
    """The catalog of a directory, closed afterwards."""
    catalog = Catalog.open(directory / CATALOG, read_only=read_only)
    try:
        yield catalog
    finally:
        catalog.close()


def n_live(catalog: Catalog) -> int:
    """Documents that searches see, in a catalog without unpublished builds."""
    found = catalog.rows(
        "SELECT count(*) FROM documents WHERE docid=group_docid AND deleted IS NULL"
    )
    return int(found[0][0])


def _link(source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            target.hardlink_to(source)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)


def _copy_encoder(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source.parent).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise IndexFailure(f"{path}: a link or a device; an encoder is made of plain files")
        if path.is_dir():
            continue
        if not manifests.fits(name):
            raise IndexFailure(
                f"{path}: a snapshot holds no file of this name; wanted letters, digits, '.', '_' "
                "and '-', at most four folders deep"
            )
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def _hashed(folder: Path, progress: Progress | None) -> tuple[File, ...]:
    names = files_in(folder)
    total = sum((folder / name).stat().st_size for name in names)
    done = 0
    files = []
    for name in names:
        digest, size = sha256_of(folder / name)
        files.append(File(name, size, digest))
        done += size
        if progress is not None:
            progress(done, total)
    return tuple(files)


def files_in(folder: Path) -> list[str]:
    """Every path under a folder that is not a directory, sorted; links to directories are such."""
    found = []
    for here, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        found += [(Path(here) / name).relative_to(folder).as_posix() for name in (*names, *links)]
    return sorted(found)


def sha256_of(path: Path) -> tuple[str, int]:
    """SHA-256 of a file in hex digits, and its length."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
