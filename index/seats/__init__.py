"""Our indexes in the seats that frameworks have for retrievers.

source.py       an index on disk or one that a server serves, asked alike
langchain.py    a LangChain retriever
llama_index.py  a LlamaIndex retriever
haystack.py     a Haystack component
pyterrier.py    a PyTerrier transformer
mcp.py          tools for agents: search, get_document, explain

MTEB's seat is `lsr.mteb`. Each module needs its framework, and says which extra brings it.
"""

from .source import Found, LocalSource, RemoteSource, Source, open_source

__all__ = ["Found", "LocalSource", "RemoteSource", "Source", "open_source"]
