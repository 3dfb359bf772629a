"""OpenSearch (`rank_features`) and Elasticsearch (`sparse_vector`): bulk files and mappings.

Both are Lucene's feature fields, which keep 9 significant bits of a weight: our 8-bit impacts lose
nothing. A name of a feature must not hold a dot, so an entry that does is named by its number.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from ...columns import Kind
from ..records import Rows, with_members
from .format import Facts, Format, by_entry, identifier, pretty

FIELD = "lsr_tokens"
ID_FIELD = "lsr_document"
RESERVED = frozenset(
    {FIELD, ID_FIELD}
    | {"_id", "_index", "_source", "_routing", "_version", "_seq_no", "_ignored", "_field_names"}
)
"""Our fields, and those of theirs that no document may hold: each would be refused for it."""
_TYPES: Mapping[Kind, str] = {
    "keyword": "keyword",
    "int": "long",
    "float": "double",
    "bool": "boolean",
    "date": "date",
}


def lines(rows: Rows, facts: Facts) -> bytes:
    """An action and a document, a line each, as `_bulk` takes them."""
    parts = []
    tokens_of = by_entry(rows, facts.features)
    columns = zip(rows.ids, rows.doc_ids, rows.fields, tokens_of, strict=True)
    for row_id, doc_id, fields, tokens in columns:
        parts.append(orjson.dumps({"index": {"_id": row_id}}))
        members: dict[str, Any] = {FIELD: tokens, ID_FIELD: doc_id}
        parts.append(orjson.dumps(with_members(fields, **members)))
    return b"\n".join(parts) + b"\n"


def _properties(facts: Facts, vector: Mapping[str, Any]) -> dict[str, Any]:
    declared = {name: {"type": _TYPES[kind]} for name, kind in facts.fields.items()}
    return {FIELD: vector, ID_FIELD: {"type": "keyword"}, **declared}


def _weights(facts: Facts) -> dict[str, int]:
    pairs = zip(facts.example.terms, facts.example.weights, strict=True)
    return {facts.features[term]: weight for term, weight in pairs}


def _page(facts: Facts, engine: str) -> str:
    name = identifier(facts.name)
    return f"""# {facts.name} in {engine}

```
curl -s -X PUT localhost:9200/{name} -H 'Content-Type: application/json' -d @mapping.json
split -l 2000 --filter="curl -s localhost:9200/{name}/_bulk \\
  -H 'Content-Type: application/x-ndjson' --data-binary @- > /dev/null" bulk.ndjson
curl -s -X POST localhost:9200/{name}/_refresh
curl -s localhost:9200/{name}/_search -H 'Content-Type: application/json' -d @query.json
```

`query.json` asks for {facts.example.text!r}. Weights are the integers that our own exact search
adds up, which Lucene's feature fields keep exactly: scores are ours in units of one integer.
Pruning of query tokens is switched off, or the ranking would be another.
"""


def _opensearch(facts: Facts) -> dict[str, str]:
    mapping = {"mappings": {"properties": _properties(facts, {"type": "rank_features"})}}
    query = {"size": 10, "query": {"neural_sparse": {FIELD: {"query_tokens": _weights(facts)}}}}
    return {
        "mapping.json": pretty(mapping),
        "query.json": pretty(query),
        "README.md": _page(facts, "OpenSearch"),
    }


def _elasticsearch(facts: Facts) -> dict[str, str]:
    vector = {"type": "sparse_vector", "index_options": {"prune": False}}
    mapping = {"mappings": {"properties": _properties(facts, vector)}}
    asked = {"field": FIELD, "query_vector": _weights(facts), "prune": False}
    return {
        "mapping.json": pretty(mapping),
        "query.json": pretty({"size": 10, "query": {"sparse_vector": asked}}),
        "README.md": _page(facts, "Elasticsearch"),
    }


OPENSEARCH = Format(
    "opensearch", "OpenSearch", "bulk.ndjson", lines, _opensearch, reserved=RESERVED, flat=True
)
ELASTICSEARCH = Format(
    "elasticsearch",
    "Elasticsearch",
    "bulk.ndjson",
    lines,
    _elasticsearch,
    reserved=RESERVED,
    flat=True,
)
