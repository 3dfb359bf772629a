"""What a disk may hold after power is lost: the recorded operations, replayed as far as they were
synced, with any part of the rest.

A file system may keep, lose or reorder whatever was not synced: bytes of a file until an fsync of
that file, a name until an fsync of its directory, sector by sector and name by name. A rename is
one change. What was synced stays. Renaming a file does not sync it.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .layer import Kind, Operation

SECTOR = 512

VARIANTS = ("synced", "names", "bytes", "everything", "torn", "zeros", "shuffled")
"""How much of what was not synced is there: nothing; names without bytes; bytes without names; all
of it; all but that the last write stops at a sector; files of the right size full of zeros; any
sectors and any names."""


@dataclass(slots=True)
class Change:
    """A write (`content` at `at`) or a truncation (`content` None) that no fsync followed yet."""

    at: int
    content: bytes | None


@dataclass(slots=True)
class Inode:
    """A file or a directory, whatever it is called."""

    is_folder: bool = False
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    """Of a directory: what it holds in the running system."""
    synced_names: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Naming:
    """Names that change together: (directory, name, inode or None)."""

    changes: list[tuple[int, str, int | None]]


class Disk:
    """A directory as the running system sees it, and as much of it as is sure to survive."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self.inodes = [Inode(is_folder=True)]
        self.namings: list[Naming] = []
        self.marks: list[str] = []
        self.last: Operation | None = None
        self._made: dict[int, int] = {}
        """Ours of the system's inode numbers, of files that were made while we looked."""

    def apply(self, operation: Operation) -> None:
        """One more operation of the running system."""
        kind = operation.kind
        self.last = operation
        if kind is Kind.MARK:
            self.marks += operation.content.decode().splitlines()
        elif operation.path.endswith("-shm"):
            return  # SQLite's shared memory: made anew by whoever opens the file first
        elif kind in (Kind.CREATE, Kind.MKDIR):
            self.inodes.append(Inode(is_folder=kind is Kind.MKDIR))
            self._made[operation.inode] = len(self.inodes) - 1
            self._name(operation.path, len(self.inodes) - 1)
        elif kind in (Kind.WRITE, Kind.TRUNCATE):
            found = self._find(operation.path)
            if found is not None:  # else the file is unlinked already and nobody will see it
                content = operation.content if kind is Kind.WRITE else None
                self.inodes[found].pending.append(Change(operation.at, content))
        elif kind is Kind.FSYNC:
            self._notice_rename(operation)
            self._sync(operation.path)
        elif kind in (Kind.UNLINK, Kind.RMDIR):
            self._name(operation.path, None)
        elif kind is Kind.LINK:
            self._name(operation.other, self._found(operation.path))
        elif kind is Kind.RENAME:
            inode = self._found(operation.path)
            self._name(operation.path, None)
            old = self.namings.pop()
            self._name(operation.other, inode)
            self.namings[-1].changes += old.changes
        elif kind is Kind.EXCHANGE:
            one, other = self._found(operation.path), self._found(operation.other)
            self._name(operation.path, other)
            first = self.namings.pop()
            self._name(operation.other, one)
            self.namings[-1].changes += first.changes

    def after_power_loss(self, variant: str, rng: random.Random) -> dict[str, bytes | None]:
        """Relative path to content (None for a directory) as the next start may find them."""
        folders = [dict(inode.synced_names) for inode in self.inodes]
        for naming in self.namings:
            keep = variant in ("names", "everything", "torn", "zeros") or (
                variant == "shuffled" and rng.random() < 0.5
            )
            for folder, name, inode in naming.changes if keep else ():
                if inode is None:
                    folders[folder].pop(name, None)
                else:
                    folders[folder][name] = inode
        out: dict[str, bytes | None] = {}
        contents: dict[int, bytes] = {}

        def walk(folder: int, prefix: str) -> None:
            for name, number in folders[folder].items():
                inode = self.inodes[number]
                if inode.is_folder:
                    out[prefix + name] = None
                    walk(number, f"{prefix}{name}/")
                else:
                    if number not in contents:
                        contents[number] = self._content(inode, variant, rng)
                    out[prefix + name] = contents[number]

        walk(0, "")
        return out

    def _content(self, inode: Inode, variant: str, rng: random.Random) -> bytes:
        content = bytearray(inode.synced)
        last = self.last
        for number, change in enumerate(inode.pending):
            newest = number == len(inode.pending) - 1
            if variant in ("synced", "names"):
                continue
            if change.content is None:
                if variant != "shuffled" or rng.random() < 0.7:
                    _resize(content, change.at)
                continue
            if variant == "zeros":  # room was taken; where there was something, it still is
                _resize(content, max(len(content), change.at + len(change.content)))
            elif variant == "torn" and newest and last and last.content is change.content:
                sectors = rng.randint(0, max(0, len(change.content) // SECTOR))
                _write(content, change.at, change.content[: sectors * SECTOR])
            elif variant == "shuffled":
                for at, part in _sectors(change.at, change.content):
                    if rng.random() < 0.5:
                        _write(content, at, part)
            else:
                _write(content, change.at, change.content)
        return bytes(content)

    def _notice_rename(self, synced: Operation) -> None:
        """A file that is synced under another name than it was made was renamed past the layer."""
        place = self._split(synced.path)
        if place is None or self._find(synced.path) is not None or synced.inode not in self._made:
            return
        inode = self._made[synced.inode]
        names = self.inodes[place[0]].names
        gone: list[tuple[int, str, int | None]] = [
            (place[0], name, None) for name, number in names.items() if number == inode
        ]
        for _, name, _ in gone:
            del names[name]
        self._name(synced.path, inode)
        self.namings[-1].changes += gone

    def _sync(self, path: str) -> None:
        number = self._find(path)
        if number is None:
            return
        inode = self.inodes[number]
        if not inode.is_folder:
            for change in inode.pending:
                if change.content is None:
                    _resize(inode.synced, change.at)
                else:
                    _write(inode.synced, change.at, change.content)
            inode.pending = []
            return
        kept = []
        for naming in self.namings:
            # A rename is one change: it is durable where its new name is.
            target = next((f for f, _, inode in naming.changes if inode is not None), None)
            if number != (naming.changes[0][0] if target is None else target):
                kept.append(naming)
                continue
            for folder, name, named in naming.changes:
                if named is None:
                    self.inodes[folder].synced_names.pop(name, None)
                else:
                    self.inodes[folder].synced_names[name] = named
        self.namings = kept

    def _split(self, path: str) -> tuple[int, str] | None:
        """(inode of the directory, name) of a path below the root; None outside of it."""
        if not path.startswith(self.root + "/"):
            return None
        *above, name = path[len(self.root) + 1 :].split("/")
        folder = 0
        for part in above:
            found = self.inodes[folder].names.get(part)
            if found is None:
                return None
            folder = found
        return folder, name

    def _find(self, path: str) -> int | None:
        if path.rstrip("/") == self.root:
            return 0
        place = self._split(path)
        return None if place is None else self.inodes[place[0]].names.get(place[1])

    def _found(self, path: str) -> int:
        found = self._find(path)
        if found is None:
            raise ValueError(f"{path}: used before it was made; the recording began too late")
        return found

    def _name(self, path: str, inode: int | None) -> None:
        place = self._split(path)
        if place is None:
            raise ValueError(f"{path}: not below {self.root}")
        folder, name = place
        if inode is None:
            self.inodes[folder].names.pop(name, None)
        else:
            self.inodes[folder].names[name] = inode
        self.namings.append(Naming([(folder, name, inode)]))


def replayed(root: str, operations: Iterable[Operation]) -> Disk:
    """The disk after these operations."""
    disk = Disk(root)
    for operation in operations:
        disk.apply(operation)
    return disk


def materialise(files: dict[str, bytes | None], folder: Path) -> None:
    """Put a state on a real disk, in an empty folder."""
    for name, content in files.items():
        path = folder / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _write(content: bytearray, at: int, part: bytes | Sequence[int]) -> None:
    if at > len(content):
        content.extend(bytes(at - len(content)))
    content[at : at + len(part)] = part


def _sectors(at: int, content: bytes) -> Iterable[tuple[int, bytes]]:
    """A write in pieces that do not cross a sector's border."""
    begin = 0
    while begin < len(content):
        stop = min(len(content), begin + SECTOR - (at + begin) % SECTOR)
        yield at + begin, content[begin:stop]
        begin = stop
