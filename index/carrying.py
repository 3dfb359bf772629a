"""Origins that an index keeps, for the one that is rebuilt from it.

Where weights come from the stored vectors, so do their origins: text and terms are the same. Where
an encoder reads every text anew, it is asked again where each term came from, if it can tell.
"""

from collections.abc import Callable

import orjson

from lsr.encoders import Learned
from lsr.encoders.protocol import SparseEncoder
from lsr.errors import LsrError

from .database import select
from .live_rows import LIVE
from .origins import has_origins, make_table, put_origins, stored_origins, untraced
from .store import Index
from .tracing import TracingEncoder, trace_all

CHUNK = 1024


def carry_origins(
    source: Index,
    target: Index,
    encoder: SparseEncoder | None,
    *,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Give each document of `target` its origins, if `source` keeps any; again is no error.

    `encoder` made the weights of `target`, None where they are those of `source`. Both must hold
    the same documents for all to be right: one that was replaced in `source` alone gets those of
    its successor, until that comes over. `tick` is called now and then and may raise.
    """
    if not has_origins(source.catalog):
        return
    if encoder is None:
        _copied(source, target, tick)
    elif (tracing := _tracing(encoder)) is not None:
        trace_all(target, tracing, progress=False, tick=tick)


def n_untraced(source: Index, target: Index, encoder: SparseEncoder | None) -> int:
    """How many texts of `target` have no origins although `source` keeps some.

    None where every term of a text is a word of it.
    """
    if not has_origins(source.catalog) or not isinstance(encoder, Learned | None):
        return 0
    with target.catalog.transaction() as connection:
        make_table(connection)
        return len(untraced(connection))


def _copied(source: Index, target: Index, tick: Callable[[], None]) -> None:
    with target.catalog.transaction() as connection:
        make_table(connection)
        waiting = untraced(connection)
    for begin in range(0, len(waiting), CHUNK):
        tick()
        chunk = orjson.dumps(waiting[begin : begin + CHUNK]).decode()
        rows = target.catalog.rows(
            "SELECT docid, doc_id, docid - group_docid FROM documents "
            "WHERE docid IN (SELECT value FROM json_each(?))",
            (chunk,),
        )
        ids = orjson.dumps([doc_id for _, doc_id, _ in rows]).decode()
        with source.catalog.reading() as connection:
            firsts = dict(
                select(
                    connection,
                    "SELECT d.doc_id, d.docid FROM documents d WHERE d.docid=d.group_docid "
                    f"AND d.doc_id IN (SELECT value FROM json_each(?)) AND {LIVE}",
                    (ids,),
                )
            )
        # Passages have consecutive docids from their group's on.
        there = [(docid, firsts[name] + at) for docid, name, at in rows if name in firsts]
        origins = stored_origins(source.catalog, [old for _, old in there])
        with target.catalog.transaction() as connection:
            found = zip(there, origins, strict=True)
            put_origins(connection, [(docid, one) for (docid, _), one in found if one is not None])


def _tracing(encoder: SparseEncoder) -> TracingEncoder | None:
    """The encoder if it can tell origins here: not BM25, not a network without torch."""
    if not isinstance(encoder, Learned):
        return None
    try:
        encoder.origins("a", range(encoder.n_terms))
    except LsrError:
        return None
    return encoder
