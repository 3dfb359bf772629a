"""Snapshots on disk, read: verified to the last byte, listed, and made indexes again."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lsr.errors import IndexCorrupt, IndexExists, IndexFailure, IndexNotFound
from lsr.files import changing, make_directory

from . import manifest as manifests
from .arrival import arrive, cleared, emptied, reserved, sync_tree
from .backup import Progress, catalog_in, files_in, n_live, sha256_of
from .card import EncoderCard, copy_damage
from .catalog import FILE_NAME as CATALOG
from .check import check_index
from .manifest import File, Manifest
from .quantize import scale_for

_CHUNK = 1 << 22


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
    for name in files_in(path):
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
    with changing(target), reserved(staging), cleared(staging):
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
        except IndexNotFound:
            continue  # deleted since it was listed
        except IndexFailure:
            found.append((path, None))
    return found


def _differs(path: Path, told: File) -> tuple[str, int]:
    """What is wrong with a file of a snapshot, and how many bytes were read."""
    if path.is_symlink() or not path.is_file():
        return "a link or a device, wanted a plain file", 0
    digest, size = sha256_of(path)
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
        with catalog_in(folder, read_only=True) as catalog:
            n_terms, weight = int(catalog.meta("n_terms")), float(catalog.meta("max_weight"))
            generation, n_docs = catalog.generation(), n_live(catalog)
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
