"""Engines that run in this process or beside it, loaded from the very files of an export.

All packages are in the extra `engines`, but for Lucene's, which are in `lucene`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from ..formats.format import Facts
from .engine import Engine


def _qdrant(folder: Path, facts: Facts, scratch: Path) -> Engine:
    from .qdrant import Qdrant

    return Qdrant(folder, facts, scratch)


def _milvus(folder: Path, facts: Facts, scratch: Path) -> Engine:
    from .milvus import Milvus

    return Milvus(folder, facts, scratch)


def _postgres(folder: Path, facts: Facts, scratch: Path) -> Engine:
    from .postgres import Postgres

    return Postgres(folder, facts, scratch)


def _anserini(folder: Path, facts: Facts, scratch: Path) -> Engine:
    from .anserini import Anserini

    return Anserini(folder, facts, scratch)


def _seismic(folder: Path, facts: Facts, scratch: Path) -> Engine:
    from .seismic import Seismic

    return Seismic(folder, facts, scratch)


def _bmp(folder: Path, facts: Facts, scratch: Path) -> Engine:
    from .bmp import Bmp

    return Bmp(folder, facts, scratch)


ENGINES: Mapping[str, Callable[[Path, Facts, Path], Engine]] = {
    "qdrant": _qdrant,
    "milvus": _milvus,
    "pgvector": _postgres,
    "anserini": _anserini,
    "seismic": _seismic,
    "ciff": _bmp,
}
"""By target: (export folder, facts, an empty folder to work in) -> the loaded engine."""
