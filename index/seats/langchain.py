"""A LangChain retriever over an index on disk or on a server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsr.errors import imports_of

from .source import Source, open_source, text_of

with imports_of("the LangChain retriever", extra="langchain", package="langchain-core"):
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import PrivateAttr


class LsrRetriever(BaseRetriever):
    """The k best documents of an index as LangChain documents.

    `where` is an index directory or http://HOST:PORT/NAME; `k` and `filter` may be given again in
    each `invoke`. A document's text is its best passage, its metadata its fields and `score`.
    `text_fields` make that text, by default those that the encoder of the index reads.
    """

    where: str | Path
    k: int = 10
    filter: Mapping[str, Any] | None = None
    api_key: str | None = None
    text_fields: tuple[str, ...] | None = None
    _source: Source = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Open the index."""
        super().model_post_init(context)
        self._source = open_source(self.where, api_key=self.api_key)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        wanted = self.filter if filter is None else filter
        found = self._source.search(query, self.k if k is None else k, filter=wanted)
        fields = self.text_fields or self._source.text_fields
        return [
            Document(
                id=one.doc_id,
                page_content=text_of(one, fields),
                metadata={**one.fields, "id": one.doc_id, "score": one.score},
            )
            for one in found
        ]
