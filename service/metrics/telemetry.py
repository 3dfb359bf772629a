"""`Telemetry`: where this process counts, and how it learns what its siblings counted."""

import logging
import time
from pathlib import Path
from typing import Any

from .board import Board, Values, read_all
from .history import FILE_NAME, History, rows_of
from .observing import Tracer

log = logging.getLogger("lsr.service")


class Telemetry:
    """The counts of this process and, where `folder` is shared with others, of all of them.

    The supervisor keeps the history of a shared folder; a process alone keeps its own.
    """

    def __init__(
        self, *, folder: Path | None = None, name: str = "http", tracer: Tracer | None = None
    ) -> None:
        self.folder = folder
        self.name = name
        self.tracer = tracer
        self.board = _board(None if folder is None else folder / f"{name}.board")
        self.history = None if folder is not None else History(self.board.values)

    def totals(self) -> Values:
        """The sum over all processes, those that have ended included."""
        return self.board.values() if self.folder is None else read_all(self.folder)

    def minutes(self) -> list[dict[str, Any]]:
        """Searches by the minute, the oldest first; see `history.py`."""
        if self.history is not None:
            return self.history.rows(time.time())
        assert self.folder is not None
        return rows_of(self.folder / FILE_NAME, self.totals())

    def close(self) -> None:
        """Let go of the board, whose counts stay in the shared folder, and end the tracer."""
        self.board.close()
        if self.tracer is not None:
            self.tracer.close()


def _board(path: Path | None) -> Board:
    """In memory where the disk has no room: serving matters more than what is told of it."""
    try:
        return Board(path)
    except OSError as error:
        log.warning("counts of this process are missing in /metrics: %s", error)
        return Board()
