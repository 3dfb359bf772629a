"""The preloaded file layer (layer.c): build it, arm it, read what it recorded."""

import errno
import functools
import hashlib
import json
import mmap
import os
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("layer.c")
TESTS = SOURCE.parent.parent


class Kind(IntEnum):
    """What an operation does; layer.c has the same numbers."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    FSYNC = 4
    RENAME = 5
    EXCHANGE = 6
    LINK = 7
    UNLINK = 8
    MKDIR = 9
    RMDIR = 10
    MARK = 11


NEEDS_ROOM = (Kind.CREATE, Kind.WRITE, Kind.TRUNCATE, Kind.LINK, Kind.MKDIR)
"""What a full disk refuses; it still removes, renames and syncs."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One record: `at` is the offset of a write or the size of a truncation, `inode` the file's
    number where it was made and synced. `number` counts operations from 1, as `Control.arm_kill`
    does; a mark has that of the operation before it.
    """

    number: int
    kind: Kind
    at: int
    inode: int
    path: str
    other: str
    content: bytes


@functools.cache
def library() -> Path:
    """The compiled layer, made once per version of its source."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    made = Path(tempfile.gettempdir()) / f"lsr-crash-layer-{os.getuid()}-{digest}.so"
    if not made.exists():
        compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
        part = made.with_suffix(f".{os.getpid()}")
        command = [compiler, "-O1", "-g", "-Wall", "-Wextra", "-shared", "-fPIC"]
        subprocess.run([*command, "-o", part, SOURCE, "-lpthread"], check=True)
        part.replace(made)
    return made


class Control:
    """The numbers that every process under the layer shares; a file of one page.

    `arm_*` count operations from the moment they are called.
    """

    FIELDS = (
        "enabled",
        "n_ops",
        "kill_at",
        "kill_group",
        "torn",
        "fail_from",
        "fail_until",
        "fail_errno",
        "fail_mask",
        "n_failed",
    )

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        if create:
            path.write_bytes(bytes(4096))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 4096)

    def _set(self, **numbers: int) -> None:
        for name, number in numbers.items():
            struct.pack_into("<q", self._page, 8 * self.FIELDS.index(name), number)

    def get(self, name: str) -> int:
        """One of the numbers now."""
        return int(struct.unpack_from("<q", self._page, 8 * self.FIELDS.index(name))[0])

    def count(self) -> None:
        """Count (and record) operations from 1 on; nothing is killed or refused."""
        self.disarm()
        self._set(n_ops=0, n_failed=0, enabled=1)

    def arm_kill(self, at: int, *, torn: bool = False, group: bool = False) -> None:
        """SIGKILL right before operation `at`, or half-way through it if it is a write."""
        self.count()
        self._set(torn=int(torn), kill_group=int(group), kill_at=at)

    def arm_failure(
        self,
        first: int,
        *,
        last: int = 1 << 60,
        number: int = errno.ENOSPC,
        kinds: tuple[Kind, ...] = NEEDS_ROOM,
        torn: bool = False,
    ) -> None:
        """Refuse operations `first` to `last` of these kinds; `torn` lets in half a write."""
        self.count()
        mask = sum(1 << kind for kind in kinds)
        self._set(fail_mask=mask, fail_errno=number, fail_until=last + 1, torn=int(torn))
        self._set(fail_from=first)

    def disarm(self) -> None:
        """Let every operation through; what is armed is forgotten."""
        self._set(kill_at=0, fail_from=0, torn=0)

    def stop(self) -> None:
        """Neither count nor record."""
        self.disarm()
        self._set(enabled=0)


def environment(
    root: Path, control: Control, *, trace: Path | None = None, marks: Path | None = None
) -> dict[str, str]:
    """The environment of a process that is to run under the layer, with this one's added."""
    added = {
        "LD_PRELOAD": str(library()),
        "CRASH_ROOT": str(root.resolve()),
        "CRASH_CONTROL": str(control.path),
    }
    if trace is not None:
        added["CRASH_TRACE"] = str(trace)
    if marks is not None:
        added["CRASH_MARKS"] = str(marks.resolve())
    return {**with_paths(), **added}


def with_paths() -> dict[str, str]:
    """This process's environment, in which Python finds the project and these tests."""
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def read_trace(path: Path) -> list[Operation]:
    """Everything that was recorded, in order."""
    return list(_operations(path.read_bytes()))


def _operations(raw: bytes) -> Iterator[Operation]:
    at = 0
    while at < len(raw):
        total, kind = struct.unpack_from("<II", raw, at)
        offset, inode = struct.unpack_from("<qq", raw, at + 8)
        lengths, size = struct.unpack_from("<II", raw, at + 24)
        first, second = lengths & 0xFFFF, lengths >> 16
        names = raw[at + 32 : at + 32 + first + second]
        content = raw[at + total - size : at + total]
        yield Operation(
            kind >> 8,
            Kind(kind & 0xFF),
            offset,
            inode,
            names[:first].decode(),
            names[first:].decode(),
            content,
        )
        at += total


def append_mark(path: Path, text: str) -> None:
    """A line of the marks file: what was begun, what was acknowledged."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, text.encode() + b"\n")
    finally:
        os.close(descriptor)


def driven(
    module: str, arguments: Sequence[str], folder: Path, tries: object, *, quiet: bool
) -> Any:
    """What `python -m crash.MODULE --under-layer FOLDER` prints as JSON, run on `folder`/disk."""
    (folder / "tries").write_text(json.dumps(tries))
    (folder / "disk").mkdir()
    command = [sys.executable, "-m", f"crash.{module}", "--under-layer", str(folder), *arguments]
    said = {"LSR_QUIET": "1" if quiet else os.environ.get("LSR_QUIET", "")}
    done = subprocess.run(
        command,
        env={**environment(folder / "disk", Control(folder / "control")), **said},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)
