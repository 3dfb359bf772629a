"""A LlamaIndex retriever over an index on disk or on a server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsr.errors import imports_of

from .source import open_source, text_of

with imports_of("the LlamaIndex retriever", extra="llama-index", package="llama-index-core"):
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode


class LsrRetriever(BaseRetriever):
    """The k best documents of an index as nodes with scores.

    `where` is an index directory or http://HOST:PORT/NAME. A node's text is the document's best
    passage, its metadata the stored fields. `text_fields` make that text, by default those that the
    encoder of the index reads.
    """

    def __init__(
        self,
        where: str | Path,
        *,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,
        api_key: str | None = None,
        text_fields: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self._source = open_source(where, api_key=api_key)
        self._k = k
        self._filter = filter
        self._text_fields = text_fields

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self._source.search(query_bundle.query_str, self._k, filter=self._filter)
        fields = self._text_fields or self._source.text_fields
        return [
            NodeWithScore(
                node=TextNode(
                    id_=one.doc_id,
                    text=text_of(one, fields),
                    metadata=dict(one.fields),
                    excluded_embed_metadata_keys=list(one.fields),
                    excluded_llm_metadata_keys=[name for name in one.fields if name in fields],
                ),
                score=one.score,
            )
            for one in found
        ]
