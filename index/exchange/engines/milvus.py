"""Milvus Lite behind Milvus's own protocol: `milvus-lite` and `pymilvus`."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from lsr.errors import imports_of

from ..formats.format import Facts, identifier
from ..formats.milvus import VECTOR
from .engine import Found, Query

_TYPES = {
    "VarChar": "VARCHAR",
    "Int64": "INT64",
    "SparseFloatVector": "SPARSE_FLOAT_VECTOR",
    "JSON": "JSON",
}


class Milvus:
    """A collection as the export's `collection.json` describes it."""

    name = "Milvus (milvus-lite)"
    rescales = False

    def __init__(self, folder: Path, facts: Facts, scratch: Path) -> None:
        pymilvus = self.driver()
        self.version = version("milvus-lite")
        self._collection = identifier(facts.name)
        self._client: Any = pymilvus.MilvusClient(str(scratch / "milvus.db"))
        described = orjson.loads((folder / "collection.json").read_bytes())
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        for field in described["schema"]["fields"]:
            schema.add_field(
                field_name=field["fieldName"],
                datatype=getattr(pymilvus.DataType, _TYPES[field["dataType"]]),
                is_primary=field.get("isPrimary", False),
                **field.get("elementTypeParams", {}),
            )
        parameters = self._client.prepare_index_params()
        for index in described["indexParams"]:
            kind = index["params"]["index_type"]
            parameters.add_index(
                field_name=index["fieldName"],
                index_name=index["indexName"],
                index_type=kind,
                metric_type=index["metricType"],
            )
        self._client.create_collection(
            self._collection, schema=schema, index_params=parameters, consistency_level="Strong"
        )
        with (folder / "rows.ndjson").open("rb") as file:
            for line in file:
                rows = orjson.loads(line)["data"]
                for row in rows:
                    row[VECTOR] = {int(term): float(w) for term, w in row[VECTOR].items()}
                self._client.insert(self._collection, [row for row in rows if row[VECTOR]])
        self._client.load_collection(self._collection)

    @staticmethod
    def driver() -> Any:
        """As `Engine.driver`."""
        with imports_of("Milvus Lite", extra="engines", package="milvus-lite"):
            import milvus_lite  # noqa: F401  what pymilvus runs for a file
            import pymilvus
        return pymilvus

    def search(self, queries: Sequence[Query], k: int) -> Iterator[Found]:
        """As `Engine.search`."""
        for terms, weights in queries:
            yield self._one(terms, weights, k)

    def _one(self, terms: list[int], weights: list[int], k: int) -> Found:
        vector = dict(zip(terms, map(float, weights), strict=True))
        (found,) = self._client.search(
            self._collection, data=[vector], anns_field=VECTOR, limit=k, output_fields=["id"]
        )
        return [(hit["id"], float(hit["distance"])) for hit in found if hit["distance"] > 0]

    def close(self) -> None:
        """As `Engine.close`."""
        self._client.close()
