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
them again, and a server of it; with `--encoder FOLDER` it is searched with texts, too:

```
lsr import documents.ndjson {facts.name}.index --from jsonl
lsr serve {facts.name}={facts.name}.index
```

Weights are 8-bit impacts unless `lsr export --floats` wrote them, and fit no other index as they
are: those of a server have the scale of their encoder.
"""
    return {"README.md": readme}


FORMAT = Format("jsonl", "any", "documents.ndjson", lines, files)
