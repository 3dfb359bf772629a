"""Seismic: its JSON lines, which `pyseismic-lsr` builds an index from."""

import orjson

from ..records import Rows
from .format import Facts, Format, by_entry, pretty


def lines(rows: Rows, facts: Facts) -> bytes:
    """{"id", "content", "vector": {entry: weight}} a line."""
    return b"".join(
        orjson.dumps(
            {"id": row_id, "content": "", "vector": vector}, option=orjson.OPT_APPEND_NEWLINE
        )
        for row_id, vector in zip(rows.ids, by_entry(rows, facts.vocabulary), strict=True)
    )


def files(facts: Facts) -> dict[str, str]:
    """A query, and how both are used."""
    query = {"id": "1", "content": facts.example.text or "", "vector": facts.tokens()}
    readme = f"""# {facts.name} in Seismic

```python
import json
import numpy as np
from seismic import SeismicIndex, get_seismic_string

index = SeismicIndex.build("documents.jsonl")
query = json.load(open("query.json"))["vector"]
index.search(
    query_id="1",
    query_components=np.array(list(query), dtype=get_seismic_string()),
    query_values=np.array(list(query.values()), dtype=np.float32),
    k=10, query_cut=len(query), heap_factor=0.9,
)
```

Seismic is approximate. `query.json` is {facts.example.text!r}.
"""
    return {"query.json": pretty(query), "README.md": readme}


FORMAT = Format("seismic", "Seismic", "documents.jsonl", lines, files)
