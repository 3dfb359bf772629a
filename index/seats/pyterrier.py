"""A PyTerrier transformer: queries in, ranked documents out, so that `>>`, `+` and `%` work."""

from pathlib import Path
from typing import Any

from lsr.errors import imports_of

from .source import open_source, text_of

with imports_of("the PyTerrier transformer", extra="pyterrier", package="pyterrier"):
    import pandas as pd  # type: ignore[import-untyped]
    import pyterrier as pt


class LsrRetriever(pt.Transformer):
    """Search an index on disk, or http://HOST:PORT/NAME, for every query of a data frame.

    In: qid, query. Out: qid, query, docno, rank (from 0), score, and `text` with `text=True`.
    """

    def __init__(self, where: str | Path, *, k: int = 1000, text: bool = False) -> None:
        super().__init__()
        self._source = open_source(where)
        self._k = k
        self._text = text

    def transform(self, inp: Any) -> Any:
        """The rankings of all queries."""
        pt.validate.query_frame(inp, extra_columns=["query"])
        given = [name for name in inp.columns if name not in ("docno", "rank", "score", "text")]
        rows, fields = [], self._source.text_fields if self._text else ()
        for record in inp[given].to_dict("records"):
            for rank, one in enumerate(self._source.search(record["query"], self._k)):
                row = {**record, "docno": one.doc_id, "rank": rank, "score": one.score}
                rows.append({**row, "text": text_of(one, fields)} if self._text else row)
        columns = [*given, "docno", "rank", "score", *(["text"] if self._text else [])]
        return pd.DataFrame(rows, columns=columns)
