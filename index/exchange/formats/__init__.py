"""How each engine wants rows, what it must be told before, and how it is asked."""

from collections.abc import Mapping

from . import anserini, elastic, jsonl, milvus, pgvector, qdrant, seismic, vespa
from .format import Example, Facts, Format

FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        jsonl.FORMAT,
        elastic.OPENSEARCH,
        elastic.ELASTICSEARCH,
        qdrant.FORMAT,
        milvus.FORMAT,
        vespa.FORMAT,
        pgvector.FORMAT,
        anserini.FORMAT,
        seismic.FORMAT,
    )
}
"""By the name that `lsr export --to` takes; CIFF, which is no rows, is in `ciff.py`."""

__all__ = ["FORMATS", "Example", "Facts", "Format"]
