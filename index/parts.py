"""What the bytes of an index on disk are for."""

from lsr.errors import IndexFailure

from .catalog import Catalog
from .snapshot import Snapshot

_TABLES = {
    "texts": "texts",
    "pending": "pending",
    "pending_added": "pending",
}
"""Tables and indexes of the catalog by what they are for; the rest is bookkeeping."""


def disk_parts(catalog: Catalog, snapshot: Snapshot) -> dict[str, int]:
    """Bytes on disk by part, over all live files.

    `texts`: stored fields. `pending`: vectors that are in no segment yet. `bookkeeping`: ids,
    commits and free pages of the catalog. `search`: what a search reads of the segments.
    `vectors`: float16 vectors, for explanations, merges and rebuilds. `names`: ids and filter
    columns of the segments.
    """
    found = {"texts": 0, "pending": 0}
    for name, n_bytes in catalog.rows("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"):
        if part := _TABLES.get(str(name)):
            found[part] += int(n_bytes)
    # Pages that were rewritten lie in the log again; one that the log has yet to take, nowhere.
    found["bookkeeping"] = max(0, catalog.n_bytes() - found["texts"] - found["pending"])
    segments = [view.segment for view in snapshot.views if view.number >= 0]
    search = sum(segment.search_bytes for segment in segments)
    vectors = sum(segment.vector_bytes for segment in segments)
    whole = sum(segment.n_bytes for segment in segments)
    if whole < search + vectors:
        raise IndexFailure(f"{catalog.path.parent}: sections are larger than their files")
    return found | {"search": search, "vectors": vectors, "names": whole - search - vectors}
