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
from pathlib import Path

import apsw

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_MAGIC = 0x377F0682
TRIES = 3
BAD_HEADER = "the header of its write-ahead log does not match its checksum"


def log_damage(path: Path, connection: apsw.Connection) -> str:
    """What is wrong with the log at `path`, beside a database that this connection has open."""
    for _ in range(TRIES):
        n_frames = _n_frames(connection)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:  # somebody else closed the database
            return ""
        if _n_frames(connection) == n_frames:
            if not _header_is_sound(raw):
                return "" if _is_written_back(raw, path, connection) else BAD_HEADER
            return _damage(raw, n_frames)
    return ""  # others commit at this moment, so what was left behind has been read already


def empty_torn_log(path: Path, connection: apsw.Connection) -> None:
    """Cut a log of a torn header and nothing to lose to no bytes, by a connection that writes."""
    try:
        with path.open("rb") as log:
            torn = not _header_is_sound(log.read(HEADER_BYTES + 1))
    except FileNotFoundError:
        return
    if torn and _is_written_back(path.read_bytes(), path, connection):
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


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

    The checksum of a page is made anew when it is written back, and is left out.
    """
    (page_bytes,) = next(connection.execute("PRAGMA page_size"))
    compared = page_bytes - connection.reserve_bytes()
    # By SQLite's own layer: to close a descriptor of ours would let go of the locks of all.
    flags = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY
    database = apsw.VFSFile("unix", str(path).removesuffix("-wal"), [flags, 0])
    try:
        return all(
            database.xRead(compared, (number - 1) * page_bytes) == raw[at : at + compared]
            for order in "<>"
            for number, at in _committed(raw, page_bytes, order).items()
        )
    finally:
        database.xClose()


def _committed(raw: bytes, page_bytes: int, order: str) -> dict[int, int]:
    """Where the last version of each page begins in a log; nothing of its header is believed.

    The frames of its last round carry the salts of the first one. What counted are those up to
    the last commit that the chain of their checksums reaches.
    """
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    salts = raw[HEADER_BYTES + 8 : HEADER_BYTES + 16]
    n_pages = 0
    committed: dict[int, int] = {}
    waiting: dict[int, int] = {}
    for at in range(HEADER_BYTES, len(raw) - frame_bytes + 1, frame_bytes):
        follows = at == HEADER_BYTES or _follows(raw, at, frame_bytes, order)
        if not follows or raw[at + 8 : at + 16] != salts:
            break
        number, pages_then = struct.unpack_from(">2I", raw, at)
        waiting[number] = at + FRAME_HEADER_BYTES
        if pages_then:
            n_pages = pages_then
            committed |= waiting
            waiting = {}
    return {number: at for number, at in committed.items() if 0 < number <= n_pages}


def _damage(raw: bytes, n_frames: int) -> str:
    if len(raw) <= HEADER_BYTES:
        return ""
    magic, _, page_bytes, _, *salts = struct.unpack_from(">6I", raw)
    order = _order(magic)
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    commit_seen = False
    for number in range(n_frames, (len(raw) - HEADER_BYTES) // frame_bytes):
        at = HEADER_BYTES + number * frame_bytes
        _, n_pages, *its_salts = struct.unpack_from(">4I", raw, at)
        if its_salts != salts:
            continue  # of an earlier round of the log, or torn
        intact = number > 0 and _follows(raw, at, frame_bytes, order)
        if commit_seen and intact:
            return (
                f"frame {n_frames + 1} of its write-ahead log does not match its checksum, and "
                "commits after it were synced"
            )
        # The first bad frame may itself be the commit of its transaction, if its header says so.
        commit_seen |= n_pages > 0 and (intact or number == n_frames)
    return ""


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
