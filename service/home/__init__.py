"""The data directory of a server: which indexes, aliases, keys and tasks there are, durably.

home.py       `Home`, the directory and its `service.sqlite`
registry.py   indexes and aliases by name
aliases.py    how aliases move, and their history
versions.py   earlier versions of indexes
keys.py       who may do what
serving.py    one server a directory
queue.py      tasks, from queued to finished
log.py        lines of documents that were acknowledged and are not yet searchable
"""

from .home import FILE_NAME, Home

__all__ = ["FILE_NAME", "Home"]
