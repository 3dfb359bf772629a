"""Snapshots on disk: a consistent copy of a live index, verified to the last byte, and back again.

    NAME/                    arrives by a rename when everything in it is durable
      manifest.json          what there is, with SHA-256 (manifest.py)
      catalog.sqlite         SQLite's own online copy, of one commit
      segments/*.seg         hard links to the files of that commit, copies where linking fails
      encoder/               as in the index

Others add, delete, seal and merge meanwhile. The catalog is copied in one read transaction; the
segments it names are held by shared flocks, as readers hold them, until they are linked. A snapshot
opens like an index, for reading; `restore` makes an index of it that may change.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr.errors import IndexCorrupt, IndexExists, IndexFailure, IndexNotFound
from lsr.files import changing, make_directory

from . import manifest as manifests
from .arrival import arrive, emptied, reserved, sync_tree
from .card import EncoderCard, copy_damage
from .catalog import FILE_NAME as CATALOG
from .catalog import Catalog
from .changes import abandon_build
from .check import check_index
from .database import select
from .fallback import drop_undo, undos
from .maintenance import forget_versions
from .manifest import File, Manifest
from .notes import drop_notes
from .quantize import scale_for
from .snapshot import OpenSegment

COPY_TRIES = 5
"""A merge may retire and remove a segment between the copy of the catalog and our opening it."""

_CHUNK = 1 << 22

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was read of a snapshot and what is wrong with it."""

    manifest: Manifest | None
    n_bytes: int
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Every byte is as it was written and the index in it contradicts nothing."""
        return not self.problems


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
    with changing(staging), reserved(staging), _cleared(staging):
        emptied(staging)
        held = _copy_catalog(directory, staging)
        (staging / "segments").mkdir()
        for file, _ in held:
            _link(directory / "segments" / file, staging / "segments" / file, link=link)
        if (directory / "encoder").is_dir():
            _copy_encoder(directory / "encoder", staging / "encoder")
        for _, one in held:
            one.segment.verify_checksums()
        with _catalog_in(staging, read_only=True) as catalog:
            generation, n_docs = catalog.generation(), _n_live(catalog)
            card = catalog.meta("encoder")
        made = Manifest(
            name=name,
            created=time.time(),
            generation=generation,
            n_docs=n_docs,
            encoder=card,
            files=_hashed(staging, progress),
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


def verify_backup(path: Path, *, progress: Progress | None = None) -> Verdict:
    """Read every byte of a snapshot: digests, no file too many or too few, and `check_index`.

    Raises `IndexNotFound` where there is no snapshot; everything else is in the verdict.
    """
    path = Path(path)
    try:
        told = Manifest.read(path)
    except IndexNotFound:
        raise
    except IndexFailure as error:
        return Verdict(None, 0, (str(error),))
    expected = {file.path: file for file in told.files}
    problems = []
    n_bytes = 0
    for name in _names_in(path):
        if name == manifests.FILE_NAME:
            continue
        if name not in expected:
            problems.append(f"{name}: not named by {manifests.FILE_NAME}")
            continue
        file = expected.pop(name)
        problem, size = _differs(path / name, file)
        n_bytes += size
        if problem:
            problems.append(f"{name}: {problem}")
        if progress is not None:
            progress(n_bytes, told.n_bytes)
    problems += [f"{name}: missing" for name in expected]
    if not problems:
        problems += _contradictions(path, told)
    return Verdict(told, n_bytes, tuple(problems))


def restore(path: Path, target: Path, *, progress: Progress | None = None) -> Manifest:
    """Make the index `target` of a snapshot. What is copied is what is verified, in one reading.

    Raises `IndexExists`, or `IndexCorrupt` naming what is wrong, leaving nothing at `target`.
    """
    told = Manifest.read(Path(path))

    def parts() -> Iterator[tuple[File, Callable[[int], bytes]]]:
        for file in told.files:
            source = Path(path) / file.path
            if source.is_symlink() or not source.is_file():
                raise IndexCorrupt(f"{source}: missing, or no plain file; take another copy")
            with source.open("rb") as raw:
                yield file, raw.read

    return restore_parts(told, parts(), Path(target), progress=progress)


def restore_parts(
    told: Manifest,
    parts: Iterator[tuple[File, Callable[[int], bytes]]],
    target: Path,
    *,
    progress: Progress | None = None,
) -> Manifest:
    """As `restore`, from (file, read) pairs: each `read(n)` gives the next bytes of that file."""
    if target.exists() or target.is_symlink():
        raise IndexExists(f"{target} exists; restore the snapshot to another path")
    with changing(target):
        make_directory(target.parent)
    staging = target.with_name(f".{target.name}.restoring")
    with changing(target), reserved(staging), _cleared(staging):
        emptied(staging)
        (staging / "segments").mkdir()
        missing = {file.path for file in told.files}
        done = 0
        for file, read in parts:
            _store(staging / file.path, file, read)
            missing.discard(file.path)
            done += file.n_bytes
            if progress is not None:
                progress(done, told.n_bytes)
        problems = [f"{name}: missing" for name in sorted(missing)]
        problems = problems or _contradictions(staging, told)
        if problems:
            raise IndexCorrupt(f"the snapshot '{told.name}' is damaged: {'; '.join(problems)}")
        sync_tree(staging)
        arrive(staging, target)
    return told


def snapshots_in(folder: Path) -> list[tuple[Path, Manifest | None]]:
    """Every snapshot directory in a folder, by name, with None for a manifest that cannot be read.

    What a kill left in the making is not among them.
    """
    if not folder.is_dir():
        return []
    found: list[tuple[Path, Manifest | None]] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not (path / manifests.FILE_NAME).is_file():
            continue
        try:
            found.append((path, Manifest.read(path)))
        except IndexFailure:
            found.append((path, None))
    return found


@contextmanager
def _cleared(staging: Path) -> Iterator[None]:
    """Leave nothing of a failed attempt; of a killed one the next attempt clears what is left."""
    try:
        yield
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _copy_catalog(directory: Path, staging: Path) -> list[tuple[str, OpenSegment]]:
    """Copy the catalog as of one commit and open every segment that it names."""
    for attempt in range(COPY_TRIES):
        with _catalog_in(directory, read_only=True) as source:
            source.copy_to(staging / CATALOG)
        with _catalog_in(staging) as copied:
            _leave_published(copied)
            names = [str(file) for (file,) in copied.rows("SELECT file FROM segments")]
        held = []
        try:
            for file in names:
                held.append((file, OpenSegment(directory / "segments" / file)))
        except FileNotFoundError as error:
            if attempt == COPY_TRIES - 1:
                raise IndexCorrupt(
                    f"{error.filename}: the catalog names this segment but the file is gone. "
                    "Restore a copy or rebuild the index."
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
def _catalog_in(directory: Path, *, read_only: bool = False) -> Iterator[Catalog]:
    catalog = Catalog.open(directory / CATALOG, read_only=read_only)
    try:
        yield catalog
    finally:
        catalog.close()


def _n_live(catalog: Catalog) -> int:
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
    names = _names_in(folder)
    total = sum((folder / name).stat().st_size for name in names)
    done = 0
    files = []
    for name in names:
        digest, size = _sha256(folder / name)
        files.append(File(name, size, digest))
        done += size
        if progress is not None:
            progress(done, total)
    return tuple(files)


def _names_in(folder: Path) -> list[str]:
    """Every path under a folder that is not a directory, sorted; links to directories are such."""
    found = []
    for here, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        found += [(Path(here) / name).relative_to(folder).as_posix() for name in (*names, *links)]
    return sorted(found)


def _sha256(path: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def _differs(path: Path, told: File) -> tuple[str, int]:
    """What is wrong with a file of a snapshot, and how many bytes were read."""
    if path.is_symlink() or not path.is_file():
        return "a link or a device, wanted a plain file", 0
    digest, size = _sha256(path)
    if size != told.n_bytes:
        return f"has {size} bytes, {manifests.FILE_NAME} says {told.n_bytes}", size
    if digest != told.sha256:
        return "its bytes do not match their SHA-256", size
    return "", size


def _store(path: Path, file: File, read: Callable[[int], bytes]) -> None:
    """Write exactly the bytes that the manifest promises of a file, or raise `IndexCorrupt`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    left = file.n_bytes
    with path.open("xb") as out:
        while block := read(min(_CHUNK, left + 1)):
            if len(block) > left:
                raise IndexCorrupt(f"{file.path}: longer than its {file.n_bytes} bytes")
            digest.update(block)
            out.write(block)
            left -= len(block)
    if left:
        raise IndexCorrupt(f"{file.path}: cut off, {left} of {file.n_bytes} bytes are missing")
    if digest.hexdigest() != file.sha256:
        raise IndexCorrupt(f"{file.path}: its bytes do not match their SHA-256")


def _contradictions(folder: Path, told: Manifest) -> list[str]:
    """What the index in a snapshot says against itself or against the manifest."""
    try:
        with _catalog_in(folder, read_only=True) as catalog:
            n_terms, weight = int(catalog.meta("n_terms")), float(catalog.meta("max_weight"))
            generation, n_docs = catalog.generation(), _n_live(catalog)
            card = catalog.meta("encoder")
        problems = list(check_index(folder, n_terms=n_terms, scale=scale_for(weight)).problems)
    except IndexFailure as error:
        return [str(error)]
    if (generation, n_docs) != (told.generation, told.n_docs):
        problems.append(
            f"{CATALOG}: {n_docs} documents at commit {generation}, {manifests.FILE_NAME} says "
            f"{told.n_docs} at {told.generation}"
        )
    encoder = None if card is None else EncoderCard(**card)
    damage = copy_damage(encoder, folder / "encoder")
    return problems if damage is None else [*problems, damage]
