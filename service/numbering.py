"""Where the versions of an index begin, so that no two indexes of one address share them.

An ETag is the version of a document, and a version its docid. Two indexes that were loaded alike
would number their documents alike, and an alias that moves from one to the other, or a name that is
made anew, would let an old `If-Match` replace what nobody has read.
"""

import secrets

from index import Index

_NEW = 1 << 30
"""A quarter of all docids: two indexes begin at one number once in a thousand million times."""
_AGAIN = 1 << 20
"""For a copy that goes on beside its original: restored a thousand times, it still has room."""


def begin_anywhere(index: Index) -> None:
    """For a new index: its first version may be any."""
    index.skip_versions(secrets.randbelow(_NEW))


def go_on_elsewhere(index: Index) -> None:
    """For a copy: what it is given next has other versions than what the original is given."""
    index.skip_versions(secrets.randbelow(_AGAIN))
