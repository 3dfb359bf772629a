"""What a server counts, and how one page tells it for all processes.

names.py        every metric: name, labels, what it means
board.py        the numbers of one process, in memory that its siblings can read
totals.py       the sum over processes
page.py         the sum, and what is looked up at the moment, in Prometheus' format
lookup.py       what is looked up
history.py      searches of the last hours by the minute
observing.py    the middleware that counts, logs and traces requests
telemetry.py    the board of this process and the sum over all
"""

from .board import Board
from .history import History
from .observing import Observation, Observed, Searched, observation_of
from .telemetry import Telemetry

__all__ = [
    "Board",
    "History",
    "Observation",
    "Observed",
    "Searched",
    "Telemetry",
    "observation_of",
]
