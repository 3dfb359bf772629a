"""The addresses of API v1, a module an area. Handlers are plain functions, so that each runs in the
thread pool.
"""

from . import (
    aliases,
    documents,
    encode,
    health,
    indexes,
    keys,
    metrics,
    multi,
    origins,
    search,
    server,
    snapshots,
    tasks,
    versions,
)

ROUTERS = (
    search.router,
    multi.router,
    encode.router,
    encode.embed_router,
    origins.router,
    indexes.router,
    documents.router,
    aliases.router,
    snapshots.router,
    versions.router,
    tasks.router,
    keys.router,
    health.router,
    metrics.router,
    server.router,
)
"""In the order of the reference."""
