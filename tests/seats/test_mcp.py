"""The MCP server, spoken to by MCP's own client over stdin and stdout."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="make test-seats")

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

SERVE = "import sys; from lsr.__main__ import main; sys.argv = ['lsr', 'mcp', sys.argv[1]]; main()"


def said(result: Any) -> Any:
    """The structured answer of a tool."""
    assert not result.is_error, result
    if result.structured_content is not None:
        return result.structured_content.get("result", result.structured_content)
    return json.loads(result.content[0].text)


async def test_an_agent_searches_reads_and_asks_why(pets: Path) -> None:
    parameters = StdioServerParameters(command=sys.executable, args=["-c", SERVE, str(pets)])
    client = stdio_client(parameters)
    async with client as (reading, writing), ClientSession(reading, writing) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        assert {tool.name for tool in tools} == {"search", "get_document", "explain"}
        query = {"query": "cats hunt", "k": 2, "filter": {"year": {"gte": 2005}}}
        found = said(await session.call_tool("search", query))
        assert [one["id"] for one in found] == ["c", "b"]
        document = said(await session.call_tool("get_document", {"id": "d"}))
        assert document["fields"]["title"] == "Rain"
        why = said(await session.call_tool("explain", {"query": "cats owls", "id": "a"}))
        assert [one["term"] for one in why["terms"]] == ["cat"]
        assert why["missing"] == ["owl"]
        lost = await session.call_tool("get_document", {"id": "nobody"})
        assert lost.is_error
