"""PostgreSQL with pgvector: `sparsevec` by COPY. Its elements count from 1, and are 16,000 at most.

Its index (HNSW) takes vectors of 1,000 elements at most and is approximate: left out here.
"""

import orjson

from ..records import Rows
from .format import Facts, Format, identifier

LARGEST = 16_000


def sparsevec(terms: list[int], weights: list[float], n_terms: int) -> str:
    """The text of a sparsevec.

    >>> sparsevec([0, 4], [3, 1], 10)
    '{1:3,5:1}/10'
    """
    cells = ",".join(f"{t + 1}:{w}" for t, w in zip(terms, weights, strict=True))
    return f"{{{cells}}}/{n_terms}"


def lines(rows: Rows, facts: Facts) -> bytes:
    """docid, id, fields, vector, separated by tabs, as COPY reads them."""
    terms, weights, starts = rows.terms.tolist(), rows.weights.tolist(), rows.starts.tolist()
    parts = []
    columns = zip(rows.docids.tolist(), rows.ids, rows.fields, starts[:-1], starts[1:], strict=True)
    for docid, row_id, fields, a, b in columns:
        # PostgreSQL's text cannot hold a zero byte, which JSON can name.
        stored = fields.decode().replace("\\u0000", "\\ufffd")
        vector = sparsevec(terms[a:b], weights[a:b], facts.n_terms)
        parts.append(f"{docid}\t{_escaped(row_id)}\t{_escaped(stored)}\t{vector}\n")
    return "".join(parts).encode()


def _escaped(text: str) -> str:
    for what, how in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\0", "�")):
        text = text.replace(what, how)
    return text


def files(facts: Facts) -> dict[str, str]:
    """The table, the load and a query."""
    name = f'"{identifier(facts.name)}"'  # quoted: `order` and `user` are words of SQL
    pairs = sorted(zip(facts.example.terms, facts.example.weights, strict=True))
    vector = sparsevec([t for t, _ in pairs], [w for _, w in pairs], facts.n_terms)
    indexes = "".join(
        f"CREATE INDEX ON {name} ((fields->>{_quoted(field)}));\n" for field in facts.fields
    )
    schema = f"""CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE {name} (
    docid bigint PRIMARY KEY,
    id text NOT NULL UNIQUE,
    fields jsonb NOT NULL,
    lsr sparsevec({facts.n_terms}) NOT NULL
);
{indexes}"""
    query = f"""-- {orjson.dumps(facts.example.text).decode()}
SELECT id, -(lsr <#> '{vector}') AS score
FROM {name} ORDER BY lsr <#> '{vector}', docid LIMIT 10;
"""
    readme = f"""# {facts.name} in PostgreSQL with pgvector

```
psql -f schema.sql
psql -c '\\copy {name} FROM documents.tsv'
psql -f query.sql
```

The search is exact and reads every row. A vector may have {LARGEST:,} elements; ours are integers,
so scores are exact and in units of one integer.
"""
    return {"schema.sql": schema, "query.sql": query, "README.md": readme}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


FORMAT = Format("pgvector", "PostgreSQL with pgvector", "documents.tsv", lines, files)
