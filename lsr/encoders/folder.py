"""An encoder folder on disk: safe paths, JSON, fingerprints of bytes, replacement in one step.

Everything read here is JSON, safetensors, an ONNX graph or plain text. Which files make up which
encoder is the business of `layout`.
"""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
from safetensors import SafetensorError

from ..errors import DiskFull, EncoderError
from ..files import NO_ROOM, atomic_write, has_room

_CHUNK = 1 << 20
DATA_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".onnx")
"""What an encoder may consist of; everything else in its folder is neither read nor copied."""


def read_json(path: Path) -> Any:
    """Parse a JSON file, or say which file is missing or broken."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise EncoderError(
            f"{path} is missing; the encoder folder is incomplete, copy or download it again"
        ) from None
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise EncoderError(
            f"{path} is not JSON ({error}); copy or download the encoder again"
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """Parse a JSON file that must hold one object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise EncoderError(
            f"{path} holds a JSON {type(value).__name__}, an object was expected; "
            "copy or download the encoder again"
        )
    return value


def write_json(path: Path, value: object) -> None:
    """Write indented JSON with a final newline, whole or not at all."""
    with atomic_write(path) as file:
        file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def inside(root: Path, relative: object, *, named_in: Path) -> Path:
    """Resolve a path that a configuration file names, refusing any that leaves the folder."""
    if not isinstance(relative, str):
        raise EncoderError(f"{named_in}: a module path must be a string, got {relative!r}")
    parts = PurePosixPath(relative.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in relative or "\0" in relative:
        raise EncoderError(
            f"{named_in}: the path {relative!r} leads outside the encoder folder; "
            "this folder is damaged or hostile, do not use it"
        )
    return root / parts


def data_files(folder: Path) -> list[Path]:
    """The files that can belong to an encoder, by relative path; follows no folder links."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(
            Path(parent, name)
            for name in names
            if name.endswith(DATA_SUFFIXES) and not name.startswith(".")
        )
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one module folder, shards in order of their names."""
    return sorted(folder.glob("*.safetensors"))


class Fingerprint:
    """16 hex digits over a sequence of labelled byte strings and files (BLAKE2b, 8 bytes).

    >>> a, b = Fingerprint(), Fingerprint()
    >>> a.add("terms", b"xy"); b.add("terms", b"x"); b.add("", b"y")
    >>> a.hex() == b.hex()
    False
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=8)

    def add(self, label: str, content: bytes) -> None:
        """Mix in a label and some bytes; lengths are mixed in too, so nothing can slide."""
        self._head(label, len(content))
        self._hash.update(content)

    def add_file(self, label: str, path: Path) -> None:
        """Mix in the bytes of a file."""
        try:
            self._head(label, path.stat().st_size)
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    self._hash.update(chunk)
        except OSError as error:
            raise EncoderError(f"{path} cannot be read: {error.strerror}") from error

    def hex(self) -> str:
        """The 16 digits so far."""
        return self._hash.hexdigest()

    def _head(self, label: str, size: int) -> None:
        name = label.encode()
        self._hash.update(len(name).to_bytes(4, "little") + name + size.to_bytes(8, "little"))


def build_fingerprint(folder: Path) -> str:
    """Fingerprint of every file of an encoder folder, by name and content."""
    fingerprint = Fingerprint()
    for path in data_files(folder):
        fingerprint.add_file(path.relative_to(folder).as_posix(), path)
    return fingerprint.hex()


def copy_files(source: Path, target: Path, names: Iterable[Path]) -> None:
    """Copy `names`, paths under `source`, to the same places under `target`."""
    for path in names:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


@contextmanager
def replacing(folder: Path, *, owned: str = "modules.json") -> Iterator[Path]:
    """Give a fresh folder to write into; on success it takes the place of `folder`.

    An existing folder is replaced only if it is empty or holds the file `owned`, so that a wrong
    output path never deletes somebody's files. A failed body leaves nothing behind. A reader sees
    the old folder, for an instant none, then the new one; a crash in that instant leaves both under
    hidden names beside it. What killed writers of the same folder left there is removed.
    """
    folder = Path(folder).absolute()
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / owned).is_file())
    ):
        raise EncoderError(
            f"{folder} exists and is not an encoder folder (it has no {owned}); "
            "nothing was written, choose another output path"
        )
    _sweep(folder)
    token = secrets.token_hex(4)
    fresh = folder.with_name(f".{folder.name}.{token}.new")
    old = folder.with_name(f".{folder.name}.{token}.old")
    claim = None
    try:
        fresh.mkdir(parents=True)
        claim = _claim(fresh)
        yield fresh
        for path in fresh.rglob("*"):
            if path.is_file():
                path.chmod(0o644)  # safetensors writes 0600, which a server's user cannot read
            _sync(path)
        _sync(fresh)  # the names in it; without them the bytes are lost
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        _sync(folder.parent)
    except (OSError, SafetensorError) as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        if getattr(error, "errno", None) in NO_ROOM or not has_room(folder.parent):
            raise DiskFull(
                f"{folder}: no room to write it ({error}); free some space and try again"
            ) from error
        raise EncoderError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        if claim is not None:
            os.close(claim)


def _claim(fresh: Path) -> int | None:
    """A descriptor whose flock says that somebody writes this folder; None if another has it.

    The lock goes with the process, however it ends. A file system without locks gives None, and
    nothing is swept there.
    """
    handle = os.open(fresh, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _sweep(folder: Path) -> None:
    """Remove what writers of `folder` that are no more left beside it."""
    hidden = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}\.(new|old)")
    left = [path for path in folder.parent.glob(".*") if hidden.fullmatch(path.name)]
    whole = folder.exists()  # asked after the names: an old one beside it is not needed any more
    for path in left:
        if path.suffix == ".old":
            if whole:
                shutil.rmtree(path, ignore_errors=True)
            continue
        with suppress(OSError):
            # A folder without files may be one that is made this moment and not yet claimed.
            claim = _claim(path) if any(path.iterdir()) else None
            if claim is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(claim)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
