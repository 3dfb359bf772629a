"""Engines that run in this process or beside it, loaded from the very files of an export.

All packages are in the extra `engines`, but for Lucene's, which are in `lucene`; each is imported
when its engine is loaded or its `driver` asked for.
"""

from collections.abc import Mapping

from .anserini import Anserini
from .bmp import Bmp
from .engine import Engine
from .milvus import Milvus
from .postgres import Postgres
from .qdrant import Qdrant
from .seismic import Seismic

ENGINES: Mapping[str, type[Engine]] = {
    "qdrant": Qdrant,
    "milvus": Milvus,
    "pgvector": Postgres,
    "anserini": Anserini,
    "seismic": Seismic,
    "ciff": Bmp,
}
"""By the target of the export."""
