"""Milvus: rows with a SPARSE_FLOAT_VECTOR field, as its RESTful insert and pymilvus take them."""

import orjson

from ..records import Rows
from .format import Facts, Format, by_number, identifier, pretty

VECTOR = "lsr"
ROWS_A_LINE = 256


def lines(rows: Rows, facts: Facts) -> bytes:
    """A body of `/v2/vectordb/entities/insert` a line, some hundred rows each."""
    name = identifier(facts.name)
    entities = [
        {"id": row_id, "docid": docid, VECTOR: vector, "fields": orjson.Fragment(fields)}
        for row_id, docid, vector, fields in zip(
            rows.ids, rows.docids.tolist(), by_number(rows), rows.fields, strict=True
        )
    ]
    return b"".join(
        orjson.dumps(
            {"collectionName": name, "data": entities[at : at + ROWS_A_LINE]},
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for at in range(0, len(entities), ROWS_A_LINE)
    )


def files(facts: Facts) -> dict[str, str]:
    """The collection with its index, and a query."""
    name = identifier(facts.name)
    fields = [
        {
            "fieldName": "id",
            "dataType": "VarChar",
            "isPrimary": True,
            "elementTypeParams": {"max_length": 4096},
        },
        {"fieldName": "docid", "dataType": "Int64"},
        {"fieldName": VECTOR, "dataType": "SparseFloatVector"},
        {"fieldName": "fields", "dataType": "JSON"},
    ]
    algorithm = {"index_type": "SPARSE_INVERTED_INDEX", "inverted_index_algo": "DAAT_MAXSCORE"}
    collection = {
        "collectionName": name,
        "schema": {"autoId": False, "enableDynamicField": False, "fields": fields},
        "indexParams": [
            {"fieldName": VECTOR, "indexName": VECTOR, "metricType": "IP", "params": algorithm}
        ],
    }
    weights = zip(facts.example.terms, facts.example.weights, strict=True)
    query = {
        "collectionName": name,
        "annsField": VECTOR,
        "data": [{str(term): weight for term, weight in weights}],
        "limit": 10,
        "outputFields": ["id"],
    }
    readme = f"""# {facts.name} in Milvus

```
curl -s localhost:19530/v2/vectordb/collections/create -H 'Content-Type: application/json' \\
  -d @collection.json
while IFS= read -r rows; do
  printf %s "$rows" | curl -s localhost:19530/v2/vectordb/entities/insert \\
    -H 'Content-Type: application/json' --data-binary @- > /dev/null
done < rows.ndjson
curl -s localhost:19530/v2/vectordb/entities/search -H 'Content-Type: application/json' \\
  -d @query.json
```

`query.json` asks for {facts.example.text!r}. Values are the integers that our own exact search adds
up, exact as float32. Filter by `fields["name"]`, a JSON column.
"""
    return {
        "collection.json": pretty(collection),
        "query.json": pretty(query),
        "README.md": readme,
    }


FORMAT = Format("milvus", "Milvus", "rows.ndjson", lines, files)
