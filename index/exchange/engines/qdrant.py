"""Qdrant's own engine in this process, `qdrant-edge-py`."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from lsr.errors import imports_of

from ..formats.format import Facts
from ..formats.qdrant import ID_FIELD, VECTOR
from .engine import Found, Query


class Qdrant:
    """A shard with the sparse vectors of an export."""

    name = "Qdrant (qdrant-edge-py)"
    rescales = False

    def __init__(self, folder: Path, facts: Facts, scratch: Path) -> None:
        edge = self.driver()
        self.version = version("qdrant-edge-py")
        self._edge: Any = edge
        configuration = edge.EdgeConfig(sparse_vectors={VECTOR: edge.EdgeSparseVectorParams()})
        (scratch / "shard").mkdir()
        self._shard: Any = edge.EdgeShard.create(str(scratch / "shard"), configuration)
        self._ids: dict[int, str] = {}
        with (folder / "points.ndjson").open("rb") as file:
            for line in file:
                points = []
                for point in orjson.loads(line)["points"]:
                    vector = point["vector"][VECTOR]
                    sparse = edge.SparseVector(vector["indices"], vector["values"])
                    points.append(edge.Point(point["id"], {VECTOR: sparse}))
                    self._ids[point["id"]] = point["payload"][ID_FIELD]
                self._shard.update(edge.UpdateOperation.upsert_points(points))
        self._shard.optimize()

    @staticmethod
    def driver() -> Any:
        """As `Engine.driver`."""
        with imports_of("Qdrant's engine", extra="engines", package="qdrant-edge-py"):
            import qdrant_edge
        return qdrant_edge

    def search(self, queries: Sequence[Query], k: int) -> Iterator[Found]:
        """As `Engine.search`."""
        for terms, weights in queries:
            yield self._one(terms, weights, k)

    def _one(self, terms: list[int], weights: list[int], k: int) -> Found:
        edge = self._edge
        vector = edge.SparseVector(terms, list(map(float, weights)))
        query = edge.Query.Nearest(vector, using=VECTOR)
        found = self._shard.search(edge.SearchRequest(query=query, limit=k))
        return [(self._ids[point.id], float(point.score)) for point in found]

    def close(self) -> None:
        """As `Engine.close`."""
        self._shard.close()
