"""`lsr mcp`: an index as tools for agents."""

import click

from . import _completing as complete

EXAMPLES = """\b
Examples:
  lsr mcp papers.index
  lsr mcp http://127.0.0.1:8000/papers
\b
In a client's configuration:
  {"mcpServers": {"papers": {"command": "lsr", "args": ["mcp", "/data/papers.index"]}}}
"""


@click.command(epilog=EXAMPLES)
@click.argument("where", shell_complete=complete.folders)
@click.option("--encoder", help="Another folder of the encoder that built the index.")
@click.option(
    "--api-key", envvar="LSR_API_KEY", help="For a server that asks for one. Default: $LSR_API_KEY"
)
def mcp(*, where: str, encoder: str | None, api_key: str | None) -> None:
    """Serve the tools search, get_document and explain over stdin and stdout (MCP).

    WHERE is an index directory, or http://HOST:PORT/NAME of a running server.
    """
    from index.seats.mcp import mcp_server
    from index.seats.source import open_source

    source = open_source(where, encoder=encoder, api_key=api_key)
    try:
        mcp_server(source).run()
    finally:
        source.close()
