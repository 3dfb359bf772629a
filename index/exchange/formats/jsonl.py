"""Plain NDJSON: what `lsr serve` takes at /v1/indexes/NAME/documents, and everybody can read."""

import orjson

from ..records import Rows
from .format import Facts, Format, by_entry


def lines(rows: Rows, facts: Facts) -> bytes:
    """{"id", "tokens": {entry: weight}, "fields"} a line."""
    return b"".join(
        orjson.dumps(
            {"id": row_id, "tokens": tokens, "fields": orjson.Fragment(fields)},
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for row_id, tokens, fields in zip(
            rows.ids, by_entry(rows, facts.vocabulary), rows.fields, strict=True
        )
    )


def files(facts: Facts) -> dict[str, str]:
    """How it is read back."""
    readme = f"""# {facts.name}: {facts.n_docs:,} rows as NDJSON

`documents.ndjson` has `id`, `tokens` (vocabulary entry to weight) and `fields` a line. An index of
them again, or into a running server:

```
lsr import documents.ndjson {facts.name}.index --from jsonl
curl -s localhost:8000/v1/indexes/{facts.name}/documents -H 'Content-Type: application/x-ndjson' \\
  --data-binary @documents.ndjson
```
"""
    return {"README.md": readme}


FORMAT = Format("jsonl", "any", "documents.ndjson", lines, files)
