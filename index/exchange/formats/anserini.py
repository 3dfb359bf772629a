"""Anserini and pyserini: JSON vectors for Lucene's impact search."""

import orjson

from ..records import Rows
from .format import Facts, Format, by_number


def lines(rows: Rows, facts: Facts) -> bytes:
    """{"id", "contents", "vector": {term: impact}} a line; terms are numbers, which survive any
    analyser.
    """
    return b"".join(
        orjson.dumps(
            {"id": row_id, "contents": "", "vector": vector}, option=orjson.OPT_APPEND_NEWLINE
        )
        for row_id, vector in zip(rows.ids, by_number(rows), strict=True)
    )


def files(facts: Facts) -> dict[str, str]:
    """A topic, and the commands."""
    pairs = zip(facts.example.terms, facts.example.weights, strict=True)
    repeated = " ".join(" ".join([str(term)] * weight) for term, weight in pairs)
    readme = f"""# {facts.name} in Anserini

`vectors.jsonl` is a collection of its own: leave nothing else that ends so beside it.

```
python -m pyserini.index.lucene --collection JsonVectorCollection \\
  --generator DefaultLuceneDocumentGenerator --input . --index lucene-index \\
  --impact --pretokenized --threads 1
python -m pyserini.search.lucene --index lucene-index --topics topics.tsv --output run.trec \\
  --impact --pretokenized --hits 10
```

`topics.tsv` asks for {facts.example.text!r}: a term is repeated as often as its weight says.
"""
    return {"topics.tsv": f"1\t{repeated}\n", "README.md": readme}


FORMAT = Format("anserini", "Anserini (Lucene)", "vectors.jsonl", lines, files, integers=True)
