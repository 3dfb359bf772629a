"""Whether there is room for more: on the disk, and in the log of what the worker has yet to do.

A full disk is refused before it is met, with room left for what must still be written: the lines
acknowledged so far become segments, and merging writes a segment before it drops the old ones.
Searches are never refused here. Looked up once a second, since every ingestion asks.
"""

import shutil
import threading
import time
from dataclasses import dataclass, field

from .home import Home, log
from .limits import MIB
from .problems import ProblemError
from .settings import Watermarks

FRESH_S = 1.0


@dataclass(slots=True)
class Pressure:
    """How full the data directory is, as it was at most a second ago; safe for threads."""

    home: Home
    marks: Watermarks = field(default_factory=Watermarks)
    _at: float = -FRESH_S
    _free: int = 0
    _disk: int = 0
    _log: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check_room(self, *, n_bytes: int = 0) -> None:
        """Before a body is read: raise `insufficient_storage` or `backlog_full` if none fits.

        `n_bytes` is what the request says it will bring, 0 where it does not say.
        """
        self.check_disk(n_bytes=n_bytes)
        if self._log + n_bytes > self.marks.max_log and self._log > 0:
            raise ProblemError(
                "backlog_full",
                f"{self._log // MIB:,} MiB of acknowledged documents wait to become searchable, "
                f"which is all that may (at most {self.marks.max_log // MIB:,} MiB).",
                hint="Try again later; /v1/tasks tells how far the server is.",
                headers={"Retry-After": "5"},
            )

    def check_disk(self, *, n_bytes: int = 0) -> None:
        """While a body is read: raise `insufficient_storage` when the disk nears its end."""
        self._look()
        wanted = self.marks.wanted(self._disk)
        if self._free - n_bytes < wanted:
            raise ProblemError(
                "insufficient_storage",
                f"The disk has {self._free // MIB:,} MiB free and {wanted // MIB:,} MiB must stay "
                "so; documents are not taken in, searches go on.",
                hint="Free some room (old snapshots, deleted documents), or give the server more.",
                headers={"Retry-After": "60"},
            )

    def _look(self) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._at < FRESH_S:
                return
            usage = shutil.disk_usage(self.home.path)
            self._free, self._disk = usage.free, usage.total
            self._log = log.n_bytes(self.home)
            self._at = now
