"""Vespa: a weighted set of term numbers, searched by its `wand` operator as integers."""

from collections.abc import Mapping

import orjson

from ...columns import Kind
from ..records import Rows
from .format import Facts, Format, by_number, identifier, pretty

FIELD = "lsr"
RESERVED = frozenset({"id", FIELD, "stored", "documentid", "sddocname"})
"""Our fields, and two that Vespa adds to every document."""
_TYPES: Mapping[Kind, str] = {
    "keyword": "string",
    "int": "long",
    "float": "double",
    "bool": "bool",
    "date": "string",
}


def lines(rows: Rows, facts: Facts) -> bytes:
    """A `put` a line, as `vespa feed` takes them."""
    name = identifier(facts.name)
    parts = []
    for row_id, weights, stored in zip(rows.ids, by_number(rows), rows.fields, strict=True):
        members = {"id": row_id, FIELD: weights, "stored": stored.decode()}
        if facts.fields:
            read = orjson.loads(stored)
            members |= {n: read[n] for n in facts.fields if read.get(n) is not None}
        put = {"put": f"id:{name}:{name}::{row_id}", "fields": members}
        parts.append(orjson.dumps(put, option=orjson.OPT_APPEND_NEWLINE))
    return b"".join(parts)


def files(facts: Facts) -> dict[str, str]:
    """The schema and a query."""
    name = identifier(facts.name)
    declared = "".join(
        f"""        field {field} type {_TYPES[kind]} {{
            indexing: attribute | summary
        }}
"""
        for field, kind in facts.fields.items()
    )
    schema = f"""schema {name} {{
    document {name} {{
        field id type string {{
            indexing: attribute | summary
        }}
        field {FIELD} type weightedset<int> {{
            indexing: attribute
            attribute: fast-search
        }}
        field stored type string {{
            indexing: summary
        }}
{declared}    }}
    rank-profile lsr {{
        first-phase {{
            expression: rawScore({FIELD})
        }}
    }}
}}
"""
    weights = zip(facts.example.terms, facts.example.weights, strict=True)
    asked = orjson.dumps({str(term): weight for term, weight in weights}).decode()
    query = {
        "yql": f"select id from {name} where ({{targetHits: 10}}wand({FIELD}, {asked}))",
        "ranking": "lsr",
        "hits": 10,
    }
    readme = f"""# {facts.name} in Vespa

Put `{name}.sd` into `schemas/` of an application, deploy it, then

```
vespa feed feed.jsonl
curl -s localhost:8080/search/ -H 'Content-Type: application/json' -d @query.json
```

`query.json` asks for {facts.example.text!r}: term numbers and integer query weights, whose products
`wand` adds up as integers: scores are ours in units of one.
"""
    return {f"{name}.sd": schema, "query.json": pretty(query), "README.md": readme}


FORMAT = Format("vespa", "Vespa", "feed.jsonl", lines, files, integers=True, reserved=RESERVED)
