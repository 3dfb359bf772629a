"""`trace_all`: every document read a second time by its network, for where its terms come from.

The vectors stay as they are. What is kept for each term that the text itself does not say is the
stretch with the largest weight, so that a highlight can show it later without any network.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from lsr.encoders import Origin, said
from lsr.encoders.protocol import SparseEncoder
from lsr.errors import UsageError
from lsr.progress import Bar, bar

from .origins import Origins, make_table, put_origins, untraced
from .reading import Reader

CHUNK = 64
"""Documents that become durable together: what a kill costs."""


class TracingEncoder(SparseEncoder, Protocol):
    """An encoder that can say where the weights of a document come from."""

    def origins(self, text: str, terms: Sequence[int]) -> list[Origin]:
        """See `lsr.encoders.Traces`."""
        ...


def trace_all(
    index: Reader,
    encoder: TracingEncoder,
    *,
    progress: bool = True,
    tick: Callable[[], None] = lambda: None,
) -> int:
    """Store the origins of every live document that has none; how many (or passages) there were.

    `tick` is called before each chunk of documents and may raise to end the work.
    Raises what `encoder.origins` raises; what was stored before stays, and another call goes on.
    """
    with index.catalog.transaction() as connection:
        make_table(connection)
        waiting = untraced(connection)
    quiet = None if progress else True
    n_traced = 0
    counter: Bar[None] = bar(total=len(waiting), unit="documents", desc="traced", quiet=quiet)
    with counter:
        for begin in range(0, len(waiting), CHUNK):
            tick()
            chunk = waiting[begin : begin + CHUNK]
            rows = list(_traced(index, encoder, chunk))
            with index.catalog.transaction() as connection:
                put_origins(connection, rows)
            n_traced += len(rows)
            counter.update(len(chunk))
    return n_traced


def _traced(
    index: Reader, encoder: TracingEncoder, docids: Sequence[int]
) -> Iterator[tuple[int, Origins]]:
    """The origins of each docid that is still there."""
    for docid in docids:
        try:
            (document,) = index.documents([docid])
            ((segment, position),) = index.refresh().locate(np.array([docid], np.uint32))
        except (UsageError, KeyError):
            continue  # deleted meanwhile, or of a build that is not published
        (span,) = index.spans([docid])
        whole = document.text(encoder.text_fields)
        start, end = (0, len(whole)) if span is None else span
        text = whole[start:end]
        spoken = {one.term for one in said(encoder, text) or ()}
        terms = [t for t in segment.impacts_of(position)[0].tolist() if t not in spoken]
        found = encoder.origins(text, terms) if terms else []
        # What a special token gave explains nothing to a reader.
        yield (
            docid,
            {
                one.term: (one.span[0] + start, one.span[1] + start)
                for one in found
                if one.span is not None and one.weight > 0
            },
        )
