"""A typed client of the service, blocking and asynchronous, over HTTP alone.

    with Client("http://127.0.0.1:8000") as client:
        client.create_index("papers", fields={"year": "int"})
        papers = client.index("papers")
        papers.add({"id": "d1", "fields": {"text": "cats sleep", "year": 2020}} for _ in range(1))
        papers.search("cat", filter={"year": {"gte": 2000}}).hits

results.py, resources.py     what comes back
searching.py, documents.py,  what can be asked
managing.py, tasks.py,
versions.py
steps.py                     requests, and when they are repeated
clients.py                   the steps carried out with httpx
reading.py, errors.py        JSON into dataclasses, problems into exceptions
"""

from ..errors import ServiceError
from .clients import AsyncClient, AsyncRemoteIndex, Client, RemoteIndex
from .errors import Fault, Refused, TaskFailed, UnexpectedAnswer, Unreachable
from .resources import Added, IndexInfo, IndexSummary, Passages, StoredDocument, Task
from .results import Hit, SearchResult
from .searching import Like, Query, SearchOptions, Vector
from .steps import Retry
from .versions import AddAlias, Gate, RemoveAlias, SwapAlias

__all__ = [
    "AddAlias",
    "Added",
    "AsyncClient",
    "AsyncRemoteIndex",
    "Client",
    "Fault",
    "Gate",
    "Hit",
    "IndexInfo",
    "IndexSummary",
    "Like",
    "Passages",
    "Query",
    "Refused",
    "RemoteIndex",
    "RemoveAlias",
    "Retry",
    "SearchOptions",
    "SearchResult",
    "ServiceError",
    "StoredDocument",
    "SwapAlias",
    "Task",
    "TaskFailed",
    "UnexpectedAnswer",
    "Unreachable",
    "Vector",
]
