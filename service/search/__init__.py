"""One search, from request to answer.

running.py        the way of a search: read, rank, fetch, explain
queries.py        what to search for, as weights by term number
terms.py          required and excluded terms, thresholds
cursors.py        pages of one commit
explaining.py     the terms behind a score
highlighting.py   where a text says them
watch.py          where the time went
"""

from .running import search
from .watch import Stopwatch, server_timing

__all__ = ["Stopwatch", "search", "server_timing"]
