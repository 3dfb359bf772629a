"""A Haystack retriever over an index on disk or on a server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsr.errors import UsageError, imports_of

from .source import Source, open_source, text_of

with imports_of("the Haystack retriever", extra="haystack", package="haystack-ai"):
    from haystack import Document, component, default_from_dict, default_to_dict

_CONDITIONS = {"==": "eq", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "in": "in"}
_GROUPS = {"AND": "all", "OR": "any"}


@component
class LsrRetriever:
    """The best documents of an index for a query, as Haystack documents.

    `where` is an index directory or http://HOST:PORT/NAME. `filters` are Haystack's, over declared
    fields (with or without `meta.`). `text_fields` make a document's content, by default those that
    the encoder of the index reads.
    """

    def __init__(
        self,
        where: str | Path,
        top_k: int = 10,
        filters: Mapping[str, Any] | None = None,
        text_fields: tuple[str, ...] | None = None,
    ) -> None:
        self.where = str(where)
        self.top_k = top_k
        self.filters = filters
        self.text_fields = None if text_fields is None else tuple(text_fields)
        self._source: Source | None = None

    def warm_up(self) -> None:
        """Open the index; `run` does so too."""
        if self._source is None:
            self._source = open_source(self.where)

    def to_dict(self) -> dict[str, Any]:
        """For Haystack's pipelines on disk."""
        described: dict[str, Any] = default_to_dict(
            self,
            where=self.where,
            top_k=self.top_k,
            filters=self.filters,
            text_fields=None if self.text_fields is None else list(self.text_fields),
        )
        return described

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "LsrRetriever":
        """What `to_dict` wrote."""
        made: LsrRetriever = default_from_dict(cls, data)
        return made

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, top_k: int | None = None, filters: Mapping[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """The documents, best first."""
        self.warm_up()
        assert self._source is not None
        wanted = self.filters if filters is None else filters
        k = self.top_k if top_k is None else top_k
        found = self._source.search(query, k, filter=expression(wanted) if wanted else None)
        fields = self.text_fields or self._source.text_fields
        documents = [
            Document(
                id=one.doc_id,
                content=text_of(one, fields),
                meta=dict(one.fields),
                score=one.score,
            )
            for one in found
        ]
        return {"documents": documents}


def expression(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Haystack's filter as ours. Raises `UsageError` for an operator that has no meaning here."""
    operator = filters.get("operator")
    if "conditions" in filters:
        parts = [expression(one) for one in filters["conditions"]]
        if operator == "NOT":
            return {"not": {"all": parts}}
        if operator in _GROUPS:
            return {_GROUPS[operator]: parts}
        raise UsageError(f"filter operator {operator!r}: wanted AND, OR or NOT")
    name = str(filters.get("field", "")).removeprefix("meta.")
    value = filters.get("value")
    if operator == "!=":
        return {"not": {"field": name, "eq": value}}
    if operator == "not in":
        return {"not": {"field": name, "in": value}}
    if operator not in _CONDITIONS:
        raise UsageError(
            f"filter operator {operator!r}: wanted one of {', '.join(_CONDITIONS)}, != and not in"
        )
    return {"field": name, _CONDITIONS[operator]: value}
