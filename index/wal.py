"""Whether a write-ahead log that a kill left behind was damaged since.

SQLite reads such a log up to the first frame that does not match its checksum and takes the rest
for what power loss tore: right for the transaction that was being written, and wrong for those
after it, which were synced one by one. So a frame that is intact beyond the end of the transaction
at which SQLite stopped proves that bits have flipped. In the very last one the two look alike.

A log that was written back whole begins anew in place, by a new header. A kill within that write
leaves a header that does not match its checksum over frames that nobody needs any more. SQLite goes
on with the salts of such a header, so that those frames would look like commits after its own:
whoever may write empties the log first.

https://www.sqlite.org/fileformat2.html#walformat tells the format.
"""

import struct
import time
from pathlib import Path
from typing import NamedTuple

import apsw

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_MAGIC = 0x377F0682
TRIES = 3
BAD_HEADER = "the header of its write-ahead log does not match its checksum"


def log_damage(path: Path, connection: apsw.Connection) -> str:
    """What is wrong with the log at `path`, beside a database that this connection has open."""
    try:
        for _ in range(TRIES):
            try:
                n_frames = _n_frames(connection)
                raw = path.read_bytes()
                if _n_frames(connection) != n_frames:
                    continue
            except apsw.BusyError:  # SQLite itself does not wait for a checkpoint's lock
                time.sleep(0.001)
                continue
            if _header_is_sound(raw):
                return _damage(raw, n_frames)
            if _is_written_back(raw, path, connection):
                return ""
            if path.read_bytes() == raw:
                return BAD_HEADER
    except FileNotFoundError:  # somebody else closed the database
        pass
    return ""  # others commit at this moment, so what was left behind has been read already


def empty_torn_log(path: Path, connection: apsw.Connection, deadline: float) -> None:
    """Cut a log of a torn header and nothing to lose to no bytes, by a connection that writes.

    Others who do so at the same moment, or write, are waited for until `deadline` on the monotonic
    clock: SQLite itself does not wait for a checkpoint's lock.
    """
    while True:
        try:
            with path.open("rb") as log:
                if _header_is_sound(log.read(HEADER_BYTES + 1)):
                    return
            if not _is_written_back(path.read_bytes(), path, connection):
                return  # the damage is told of by `log_damage`
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            return
        except FileNotFoundError:
            return
        except apsw.BusyError:
            if time.monotonic() >= deadline:
                return
            time.sleep(0.001)


def _n_frames(connection: apsw.Connection) -> int:
    """Frames that SQLite takes for valid now."""
    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    return max(0, connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0])


def _header_is_sound(raw: bytes) -> bool:
    """Whether the header matches its checksum; it is synced before the first frame is written."""
    if len(raw) <= HEADER_BYTES:
        return True
    magic = struct.unpack_from(">I", raw)[0]
    stored = struct.unpack_from(">2I", raw, 24)
    return magic & ~1 == _MAGIC and _checksum(raw[:24], (0, 0), _order(magic)) == stored


def _is_written_back(raw: bytes, path: Path, connection: apsw.Connection) -> bool:
    """Whether the database has all that a log of an unsound header holds.

    False where that cannot be told. The checksum of a page is made anew when it is written back,
    and is left out.
    """
    page_bytes = int(connection.pragma("page_size"))
    held = _held(raw, page_bytes)
    if held is None:
        return False
    compared = page_bytes - connection.reserve_bytes()
    # By SQLite's own layer: to close a descriptor of ours would let go of the locks of all.
    flags = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY
    database = apsw.VFSFile("unix", str(path).removesuffix("-wal"), [flags, 0])
    try:
        return all(
            database.xRead(compared, (number - 1) * page_bytes) == raw[at : at + compared]
            for number, at in held.items()
        )
    finally:
        database.xClose()


def _held(raw: bytes, page_bytes: int) -> dict[int, int] | None:
    """Where the last version of each page begins in a log; nothing of its header is believed.

    The frames of its last round carry the salts of the first one. What counted are those up to
    the last commit that the chain of their checksums reaches. None where there is no such commit,
    or one after the end of the chain: the frames are damaged as well.
    """
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    starts = range(HEADER_BYTES, len(raw) - frame_bytes + 1, frame_bytes)
    salts = raw[HEADER_BYTES + 8 : HEADER_BYTES + 16]
    order = next(
        (one for at in starts[1:] for one in "<>" if _follows(raw, at, frame_bytes, one)),
        "<",  # of a single frame it does not matter
    )
    n_pages = n_committed = 0
    held: dict[int, int] = {}
    waiting: dict[int, int] = {}
    for n, at in enumerate(starts, start=1):
        follows = at == HEADER_BYTES or _follows(raw, at, frame_bytes, order)
        if not follows or raw[at + 8 : at + 16] != salts:
            break
        number, pages_then = struct.unpack_from(">2I", raw, at)
        waiting[number] = at + FRAME_HEADER_BYTES
        if pages_then:
            n_pages, n_committed = pages_then, n
            held |= waiting
            waiting = {}
    held = {number: at for number, at in held.items() if 0 < number <= n_pages}
    if not held or _lost(raw, _Round(order, page_bytes, salts), n_committed):
        return None
    return held


def _damage(raw: bytes, n_frames: int) -> str:
    if len(raw) <= HEADER_BYTES:
        return ""
    magic, _, page_bytes = struct.unpack_from(">3I", raw)
    if _lost(raw, _Round(_order(magic), page_bytes, raw[16:24]), n_frames):
        return (
            f"frame {n_frames + 1} of its write-ahead log does not match its checksum, and "
            "commits after it were synced"
        )
    return ""


class _Round(NamedTuple):
    """What the frames of one round of a log have in common."""

    order: str
    page_bytes: int
    salts: bytes


def _lost(raw: bytes, of: _Round, n_frames: int) -> bool:
    """Whether a commit of this round follows the transaction that the frame after `n_frames` is of,
    in which the chain of checksums breaks.
    """
    frame_bytes = FRAME_HEADER_BYTES + of.page_bytes
    commit_seen = False
    for number in range(n_frames, (len(raw) - HEADER_BYTES) // frame_bytes):
        at = HEADER_BYTES + number * frame_bytes
        if raw[at + 8 : at + 16] != of.salts:
            continue  # of an earlier round of the log, or torn
        intact = number > 0 and _follows(raw, at, frame_bytes, of.order)
        if commit_seen and intact:
            return True
        # The first bad frame may itself be the commit of its transaction, if its header says so.
        (n_pages,) = struct.unpack_from(">I", raw, at + 4)
        commit_seen |= n_pages > 0 and (intact or number == n_frames)
    return False


def _order(magic: int) -> str:
    return ">" if magic & 1 else "<"


def _follows(raw: bytes, at: int, frame_bytes: int, order: str) -> bool:
    """Whether the frame at `at` continues the checksum that the frame before it stored."""
    before = struct.unpack_from(">2I", raw, at - frame_bytes + 16)
    running = _checksum(raw[at : at + 8], before, order)
    page = raw[at + FRAME_HEADER_BYTES : at + frame_bytes]
    return _checksum(page, running, order) == struct.unpack_from(">2I", raw, at + 16)


def _checksum(words: bytes, start: tuple[int, ...], order: str) -> tuple[int, int]:
    """SQLite's checksum of a log, over pairs of 32-bit words."""
    one, two = start
    numbers = struct.unpack(f"{order}{len(words) // 4}I", words)
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
