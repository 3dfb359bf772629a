"""Directories that come into being whole: made beside their place, moved there in one step.

A kill leaves what was there before, and beside it a directory whose name says that it is not done.
"""

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsr.errors import IndexFailure, IndexLocked, UsageError
from lsr.files import make_directory, sync_directory

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_TRIES = 1000


def sync_tree(path: Path) -> None:
    """fsync every file and directory under `path`, and itself."""
    for folder, _, names in os.walk(path):
        for name in names:
            descriptor = os.open(Path(folder) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(folder))


@contextmanager
def reserved(staging: Path, purpose: str = "to build this") -> Iterator[None]:
    """Hold the directory `staging`, made if need be; `IndexLocked` when somebody works in it,
    `UsageError` where it is a file. `purpose` tells what for.

    The lock is on the directory itself, so there is no lock file to leave behind, and it stays with
    the directory when that is moved into place.
    """
    descriptor = _locked(staging, purpose)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(staging: Path, purpose: str) -> int:
    """A descriptor of the directory, which holds the lock.

    Others may move or remove the directory between any two calls here, and it is then made anew;
    not for ever, since a parent may be one that nothing can be made in (a link to nothing, /proc).
    """
    problem: OSError | None = None
    for _ in range(_TRIES):
        try:
            make_directory(staging)
            descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
            problem = error
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), staging.stat()):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise IndexLocked(
                f"{staging}: another process holds it {purpose}; wait for it, or stop it"
            ) from error
        except FileNotFoundError as error:
            problem = error
        os.close(descriptor)
    raise UsageError(
        f"{staging}: wanted a folder there {purpose}, and none can be made ({problem}); move what "
        "is there, or choose another output"
    ) from problem


def emptied(directory: Path) -> None:
    """Remove everything in a directory, such as what an interrupted run left."""
    for left in directory.iterdir():
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


@contextmanager
def cleared(staging: Path) -> Iterator[None]:
    """Leave nothing of a failed attempt; of a killed one the next attempt clears what is left."""
    try:
        yield
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def arrive(staging: Path, path: Path) -> None:
    """Put a finished directory in its place in one step; what it replaces is then removed.

    The caller has synced the files in it.
    """
    sync_directory(staging)
    if path.exists():
        _exchange(staging, path)
        sync_directory(path.parent)
        shutil.rmtree(staging)
    else:
        staging.rename(path)
        sync_directory(path.parent)


def _exchange(one: Path, other: Path) -> None:
    """Swap two directories atomically (Linux renameat2), so that no moment is without an index."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
    if result != 0:
        number = ctypes.get_errno()
        raise IndexFailure(
            f"{other}: cannot be replaced in one step ({os.strerror(number)}); the new "
            f"directory is whole and lies at {one}, move it by hand"
        )
