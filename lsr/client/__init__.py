"""A typed client of the service, blocking and asynchronous, over HTTP alone.

    with Client("http://127.0.0.1:8000") as client:
        client.create_index("papers", fields={"year": "int"})
        papers = client.index("papers")
        papers.add({"id": "d1", "fields": {"text": "cats sleep", "year": 2020}} for _ in range(1))
        papers.search("cat", filter={"year": {"gte": 2000}}).hits

results.py, resources.py     what comes back
searching.py, comparing.py,  what can be asked
documents.py, managing.py, tasks.py, versions.py, guarding.py
steps.py                     requests, and when they are repeated
clients.py                   the steps carried out with httpx
reading.py, errors.py        JSON into dataclasses, problems into exceptions
"""

from ..errors import ServiceError
from .clients import AsyncClient, AsyncRemoteIndex, Client, RemoteIndex
from .comparing import Comparison, Encoded, Explanation, Target
from .errors import Fault, Refused, TaskFailed, UnexpectedAnswer, Unreachable
from .guarding import KeyInfo, NewKey
from .resources import Added, IndexInfo, IndexSummary, Passages, StoredDocument, Task
from .results import Hit, SearchResult
from .searching import Like, Query, Search, SearchOptions, Vector
from .steps import Retry
from .versions import AddAlias, Gate, RemoveAlias, SwapAlias

__all__ = [
    "AddAlias",
    "Added",
    "AsyncClient",
    "AsyncRemoteIndex",
    "Client",
    "Comparison",
    "Encoded",
    "Explanation",
    "Fault",
    "Gate",
    "Hit",
    "IndexInfo",
    "IndexSummary",
    "KeyInfo",
    "Like",
    "NewKey",
    "Passages",
    "Query",
    "Refused",
    "RemoteIndex",
    "RemoveAlias",
    "Retry",
    "Search",
    "SearchOptions",
    "SearchResult",
    "ServiceError",
    "StoredDocument",
    "SwapAlias",
    "Target",
    "Task",
    "TaskFailed",
    "UnexpectedAnswer",
    "Unreachable",
    "Vector",
]
