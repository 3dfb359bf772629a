"""Qdrant: points with a named sparse vector, numbered by docid; the payload has the rest."""

from collections.abc import Mapping

import orjson

from ...columns import Kind
from ..records import Rows, with_members
from .format import Facts, Format, identifier, pretty

VECTOR = "lsr"
ID_FIELD = "lsr_document"
POINTS_A_LINE = 256
_TYPES: Mapping[Kind, str] = {
    "keyword": "keyword",
    "int": "integer",
    "float": "float",
    "bool": "bool",
    "date": "datetime",
}


def lines(rows: Rows, facts: Facts) -> bytes:
    """A body of `PUT /collections/NAME/points` a line, some hundred points each."""
    terms, weights, starts = rows.terms.tolist(), rows.weights.tolist(), rows.starts.tolist()
    points = [
        {
            "id": docid,
            "vector": {VECTOR: {"indices": terms[a:b], "values": weights[a:b]}},
            "payload": with_members(fields, **{ID_FIELD: row_id}),
        }
        for docid, row_id, fields, a, b in zip(
            rows.docids.tolist(), rows.ids, rows.fields, starts[:-1], starts[1:], strict=True
        )
    ]
    return b"".join(
        orjson.dumps({"points": points[at : at + POINTS_A_LINE]}, option=orjson.OPT_APPEND_NEWLINE)
        for at in range(0, len(points), POINTS_A_LINE)
    )


def files(facts: Facts) -> dict[str, str]:
    """The collection, its payload indexes, a query."""
    name = identifier(facts.name)
    indexes = "".join(
        f"""curl -s -X PUT localhost:6333/collections/{name}/index \\
  -H 'Content-Type: application/json' \\
  -d '{{"field_name": "{field}", "field_schema": "{_TYPES[kind]}"}}'
"""
        for field, kind in facts.fields.items()
    )
    query = {
        "query": {"indices": list(facts.example.terms), "values": list(facts.example.weights)},
        "using": VECTOR,
        "limit": 10,
        "with_payload": True,
    }
    readme = f"""# {facts.name} in Qdrant

```
curl -s -X PUT localhost:6333/collections/{name} -H 'Content-Type: application/json' \\
  -d @collection.json
{indexes}while IFS= read -r points; do
  printf %s "$points" | curl -s -X PUT "localhost:6333/collections/{name}/points?wait=true" \\
    -H 'Content-Type: application/json' --data-binary @- > /dev/null
done < points.ndjson
curl -s localhost:6333/collections/{name}/points/query -H 'Content-Type: application/json' \\
  -d @query.json
```

`query.json` asks for {facts.example.text!r}. Values are the integers that our own exact search adds
up, exact as float32, so scores are ours in units of one integer. `{ID_FIELD}` in the payload is the
document's id; a point's own id is a number.
"""
    return {
        "collection.json": pretty({"sparse_vectors": {VECTOR: {}}}),
        "query.json": pretty(query),
        "README.md": readme,
    }


FORMAT = Format(
    "qdrant",
    "Qdrant",
    "points.ndjson",
    lines,
    files,
    reserved=frozenset({ID_FIELD}),
    flat=True,
)
