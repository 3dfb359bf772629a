"""Whether a write-ahead log that a kill left behind was damaged since.

SQLite reads such a log up to the first frame that does not match its checksum and takes the rest
for what power loss tore: right for the transaction that was being written, and wrong for those
after it, which were synced one by one. So a frame that is intact beyond the end of the transaction
at which SQLite stopped proves that bits have flipped. In the very last one the two look alike.

https://www.sqlite.org/fileformat2.html#walformat tells the format.
"""

import struct
from pathlib import Path

import apsw

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_MAGIC = 0x377F0682
TRIES = 3


def log_damage(path: Path, connection: apsw.Connection) -> str:
    """What is wrong with the log at `path`, beside a database that this connection has open."""
    for _ in range(TRIES):
        n_frames = _n_frames(connection)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:  # somebody else closed the database
            return ""
        if _n_frames(connection) == n_frames:
            return _damage(raw, n_frames)
    return ""  # others commit at this moment, so what was left behind has been read already


def _n_frames(connection: apsw.Connection) -> int:
    """Frames that SQLite takes for valid now."""
    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    return max(0, connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0])


def _damage(raw: bytes, n_frames: int) -> str:
    if len(raw) <= HEADER_BYTES:
        return ""
    magic, _, page_bytes, _, *salts = struct.unpack_from(">6I", raw)
    order = ">" if magic & 1 else "<"
    stored = struct.unpack_from(">2I", raw, 24)
    if magic & ~1 != _MAGIC or _checksum(raw[:24], (0, 0), order) != stored:
        # It is synced before the first frame is written.
        return "the header of its write-ahead log does not match its checksum"
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
