"""Engines that run in this process or beside it, loaded from the very files of an export.

All packages are in the extra `engines`, but for Lucene's, which are in `lucene`.
"""

from collections.abc import Callable, Mapping

from .engine import Engine


def _qdrant() -> type[Engine]:
    from .qdrant import Qdrant

    return Qdrant


def _milvus() -> type[Engine]:
    from .milvus import Milvus

    return Milvus


def _postgres() -> type[Engine]:
    from .postgres import Postgres

    return Postgres


def _anserini() -> type[Engine]:
    from .anserini import Anserini

    return Anserini


def _seismic() -> type[Engine]:
    from .seismic import Seismic

    return Seismic


def _bmp() -> type[Engine]:
    from .bmp import Bmp

    return Bmp


ENGINES: Mapping[str, Callable[[], type[Engine]]] = {
    "qdrant": _qdrant,
    "milvus": _milvus,
    "pgvector": _postgres,
    "anserini": _anserini,
    "seismic": _seismic,
    "ciff": _bmp,
}
"""By target. Nothing of an engine is imported before its `driver` is asked for."""
