"""Judged queries asked again and again, so that a drop in quality shows as one in speed does.

An index whose name, or whose alias, has a judged set in the data directory (`judged/NAME.json`, as
for the gate of aliases) is asked its queries every few minutes; the mean nDCG@10 becomes a point of
/v1/health-history and `lsr_effectiveness` of /metrics.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from lsr.errors import IndexFailure, LsrError

from ..home import Home
from ..home.registry import Entry
from ..problems import ProblemError
from ..versions.gate import judged_of, values_of
from .job import Shelf

log = logging.getLogger("lsr.service")

MEASURE = "nDCG@10"
LOOK_S = 5.0
KEEP_S = 90 * 24 * 3600.0
NICENESS = 10
"""Searches of clients come first."""


@dataclass
class Canary:
    """Measures each index that has judged queries every `every_s` seconds."""

    home: Home
    shelf: Shelf
    every_s: float
    clock: Callable[[], float] = time.time

    def run(self, stopping: threading.Event) -> None:
        """Measure what is due until `stopping`."""
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        except OSError as error:
            log.debug("judged queries run at the usual priority: %s", error)
        while not stopping.is_set():
            try:
                self.look()
            except IndexFailure as error:  # of the service's own file
                log.warning("judged queries wait: %s", error)
            stopping.wait(min(LOOK_S, self.every_s))

    def look(self) -> None:
        """Measure each index that was not measured for `every_s`; what fails is logged."""
        for name, entry in self._judged().items():
            measured = "SELECT max(at) FROM effectiveness WHERE index_name=?"
            ((last,),) = self.home.rows(measured, name)
            if last is not None and self.clock() - last < self.every_s:
                continue
            try:
                self._measure(name, entry)
            except (LsrError, OSError) as error:
                log.warning("judged queries '%s' were not measured: %s", name, error)

    def _judged(self) -> dict[str, Entry]:
        """Judged sets whose name is that of an index or an alias."""
        names = self.shelf.registry()
        known = {*names.entries, *names.aliases}
        found = sorted(path.stem for path in (self.home.path / "judged").glob("*.json"))
        entries: dict[str, Entry] = {}
        for name in found:
            if name in known:
                try:
                    entries[name] = names.resolve(name)
                except ProblemError:  # an alias of nothing; the doctor tells
                    continue
        return entries

    def _measure(self, name: str, entry: Entry) -> None:
        index = self.shelf.index(entry)
        judged = judged_of(self.home, name)
        generation = index.generation
        values = values_of(index, self.shelf.query_encoder(entry, index), judged, MEASURE)
        value = sum(values.values()) / len(values)
        now = self.clock()
        with self.home.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO effectiveness VALUES(?, ?, ?, ?, ?, ?)",
                # Under the name that is asked for: of an alias that is swapped one line goes on.
                (name, now, generation, MEASURE, value, len(values)),
            )
            connection.execute("DELETE FROM effectiveness WHERE at<?", (now - KEEP_S,))
        log.info(
            "measured   %s   %s %.4f over %d judged queries, commit %d",
            name,
            MEASURE,
            value,
            len(values),
            generation,
        )
