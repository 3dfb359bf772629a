"""An MCP server: the tools `search`, `get_document` and `explain` for agents."""

from typing import Any

from lsr.errors import UsageError, imports_of

from .source import Source, text_of

with imports_of("the MCP server", extra="mcp", package="mcp"):
    from mcp.server import MCPServer

MAX_K = 50
SNIPPET = 600
"""Characters of a hit's text; `get_document` gives the whole."""


def mcp_server(source: Source) -> "MCPServer[Any]":
    """A server of one index; `run()` serves it over stdin and stdout."""
    server: MCPServer[Any] = MCPServer(
        f"lsr-{source.name}",
        instructions=f"Search the collection '{source.name}'. Scores are exact sums over terms; "
        "`explain` says which terms, for any document.",
    )

    @server.tool()
    def search(
        query: str, k: int = 10, filter: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Find the k documents that match a query best.

        `filter` restricts declared fields: {"lang": "en", "year": {"gte": 2020}}.
        """
        found = source.search(query, max(1, min(k, MAX_K)), filter=filter)
        fields = source.text_fields
        return [
            {"id": one.doc_id, "score": one.score, "text": text_of(one, fields)[:SNIPPET]}
            for one in found
        ]

    @server.tool()
    def get_document(id: str) -> dict[str, Any]:
        """All stored fields of one document."""
        fields = source.document(id)
        if fields is None:
            raise UsageError(f"there is no document {id!r} in '{source.name}'")
        return {"id": id, "fields": dict(fields)}

    @server.tool()
    def explain(query: str, id: str) -> dict[str, Any]:
        """Which terms of a query a document shares, what each adds to its score, which it lacks."""
        reason = source.explain(query, id)
        return {
            "id": id,
            "score": reason.score,
            "terms": [{"term": one.term, "score": one.score} for one in reason.terms],
            "missing": list(reason.missing),
        }

    return server
