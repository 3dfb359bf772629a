"""Which words gave documents their expansion terms: `lsr trace` and `lsr index --origins`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..encoders import Learned, SparseEncoder
from ..errors import UsageError

if TYPE_CHECKING:
    from index import TracingEncoder


def require_tracing(encoder: SparseEncoder) -> "TracingEncoder":
    """The encoder, if it can say where weights come from; tried before any work is done.

    Raises `UsageError` for BM25, whose terms are all in the texts, and what `origins` raises.
    """
    if not isinstance(encoder, Learned):
        raise UsageError(
            f"every term of the encoder '{encoder.name}' is a word of its document, so there are "
            "no origins to keep"
        )
    encoder.origins("a", range(encoder.n_terms))
    return encoder


def trace(path: Path, encoder: "TracingEncoder") -> int:
    """Store the origins of all documents of the index at `path`; how many were read."""
    from index import Index, trace_all

    with Index.open(path) as index:
        return trace_all(index, encoder)
