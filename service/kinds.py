"""Every kind of problem that this server tells, by its code; `problems.py` tells them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: what the status and the title are, what it means, what to do about it."""

    status: int
    title: str
    meaning: str


KINDS: Mapping[str, Kind] = {
    "malformed_json": Kind(400, "Malformed JSON", "The body is not a JSON text."),
    "malformed_body": Kind(400, "Malformed body", "The body is not encoded as it says it is."),
    "bad_request": Kind(400, "Bad request", "The request could not be read."),
    "key_required": Kind(
        401, "Key required", "The server has keys, so every request needs one; see `hint`."
    ),
    "invalid_key": Kind(401, "Invalid key", "The key is unknown, has expired or was revoked."),
    "forbidden": Kind(403, "Forbidden", "The key has no scope for this."),
    "foreign_origin": Kind(
        403,
        "Foreign origin",
        "A page of another site made the browser send this; the server was not told to allow it.",
    ),
    "not_found": Kind(404, "No such address", "No route of this server has this address."),
    "unknown_index": Kind(404, "Unknown index", "No index of this name is served here."),
    "unknown_document": Kind(404, "Unknown document", "The index holds no document of this id."),
    "unknown_task": Kind(404, "Unknown task", "No task has this number."),
    "unknown_alias": Kind(404, "Unknown alias", "No alias has this name."),
    "unknown_judged": Kind(
        404, "Unknown judged queries", "No judged queries of this name lie in the data directory."
    ),
    "unknown_snapshot": Kind(
        404, "Unknown snapshot", "No snapshot of this name lies in the server's data directory."
    ),
    "unknown_encoder": Kind(
        404, "Unknown encoder", "No encoder of this name lies in the server's data directory."
    ),
    "unknown_key": Kind(404, "Unknown key", "No key has this id."),
    "invalid_name": Kind(
        404, "Invalid name", "No index, alias or snapshot can have the name in the address."
    ),
    "unknown_problem": Kind(404, "Unknown problem", "No problem has this name."),
    "method_not_allowed": Kind(
        405, "Method not allowed", "The address exists, and takes other methods: see `Allow`."
    ),
    "body_too_slow": Kind(
        408, "Body too slow", "The body did not come as fast as the server is willing to wait."
    ),
    "no_data_directory": Kind(
        409,
        "No data directory",
        "The server was started without --data, so it only reads the indexes it was given.",
    ),
    "origins_unavailable": Kind(
        409,
        "Origins unavailable",
        "Nothing here can read the document again and tell which words gave it its terms.",
    ),
    "index_exists": Kind(409, "Index exists", "An index or an alias has this name already."),
    "alias_exists": Kind(409, "Alias exists", "The name means an index already."),
    "alias_changed": Kind(409, "Alias changed", "The alias was moved while it was measured."),
    "gate_failed": Kind(
        409,
        "Gate failed",
        "The new index answers the judged queries worse than was allowed; nothing was changed.",
    ),
    "snapshot_damaged": Kind(
        409, "Snapshot damaged", "A byte of the snapshot is not what its manifest says."
    ),
    "rebuild_failed": Kind(
        409, "Rebuild failed", "No new version was made; the index is as it was."
    ),
    "rollback_failed": Kind(
        409, "Rollback failed", "The earlier version could not be given what came since."
    ),
    "task_canceled": Kind(
        409, "Task canceled", "The change was canceled, or its index deleted, before it was done."
    ),
    "nothing_to_roll_back": Kind(
        409, "Nothing to roll back", "There is no earlier version to go back to."
    ),
    "index_in_use": Kind(409, "Index in use", "An alias means this index."),
    "index_mounted": Kind(
        409,
        "Index mounted",
        "The index was named on the command line: it cannot be deleted here, nor changed where the "
        "server only reads such indexes.",
    ),
    "idempotency_conflict": Kind(
        409, "Idempotency conflict", "The Idempotency-Key was used for another request before."
    ),
    "version_conflict": Kind(
        412,
        "Version conflict",
        "The document is not of the version that If-Match or If-None-Match asks for.",
    ),
    "body_too_large": Kind(
        413, "Body too large", "The body has more bytes than this server accepts."
    ),
    "unsupported_media_type": Kind(
        415,
        "Unsupported media type",
        "Bodies are JSON, and must say so: `Content-Type: application/json`. They may be "
        "compressed: `Content-Encoding: gzip` or `zstd`.",
    ),
    "foreign_host": Kind(
        421, "Foreign host", "The server does not go by the name that the request was sent to."
    ),
    "invalid_scope": Kind(422, "Invalid scope", "A scope is ACTION:PATTERN; see `hint`."),
    "invalid_key_request": Kind(422, "Invalid key request", "No such key can be made."),
    "invalid_request": Kind(
        422, "Invalid request", "The body is JSON, but a value in it is not what was wanted there."
    ),
    "unknown_field": Kind(
        422, "Unknown field", "The body has a field that this request does not know."
    ),
    "invalid_query": Kind(
        422, "Invalid query", "The query cannot mean anything to the index that it was sent to."
    ),
    "query_too_long": Kind(
        422, "Query too long", "The query has more terms than scores have room for."
    ),
    "answer_too_large": Kind(
        422, "Answer too large", "The documents of the answer are larger than one answer may be."
    ),
    "invalid_cursor": Kind(
        422, "Invalid cursor", "The cursor is none of this server's, or of another request."
    ),
    "cursor_expired": Kind(
        410, "Cursor expired", "The commit that the cursor belongs to is no longer kept."
    ),
    "cancelled": Kind(
        499, "Cancelled", "The client closed the connection before the answer was ready."
    ),
    "no_document_encoder": Kind(
        422,
        "No encoder for documents",
        "The index can read queries only: the network that reads documents is elsewhere.",
    ),
    "no_encoder": Kind(
        422,
        "No encoder for queries",
        "The index was built from vectors, so it cannot read text or tokens; send a vector.",
    ),
    "rejected": Kind(
        422, "No document accepted", "None of the lines is a document that the index takes."
    ),
    "unknown_filter_field": Kind(
        422,
        "Unknown filter field",
        "Only fields that were declared when the index was built can be filtered by.",
    ),
    "invalid_filter": Kind(
        422, "Invalid filter", "A filter's condition does not suit the declared kind of its field."
    ),
    "backlog_full": Kind(
        429,
        "Backlog full",
        "More acknowledged documents wait to become searchable than this server lets wait.",
    ),
    "headers_too_large": Kind(
        431, "Headers too large", "Address and headers have more bytes than this server accepts."
    ),
    "too_busy": Kind(
        429, "Too busy", "The server works on as many requests as it can; come back later."
    ),
    "rate_limited": Kind(429, "Rate limited", "The key makes more requests than it may."),
    "internal_error": Kind(
        500,
        "Internal error",
        "A fault of the server, not of the request. Its log tells more beside the request id.",
    ),
    "not_ready": Kind(
        503, "Not ready", "The server is still opening its indexes, or could not open one."
    ),
    "deadline_exceeded": Kind(
        503, "Deadline exceeded", "The search took longer than the server lets any request take."
    ),
    "index_unavailable": Kind(
        503,
        "Index unavailable",
        "The index is damaged or cannot be read. The server's log says why; `lsr doctor` examines "
        "what lies on its disk.",
    ),
    "shard_missing": Kind(
        503,
        "Shard missing",
        "A part of the index does not answer, and the request did not allow an answer without it.",
    ),
    "index_busy": Kind(
        503,
        "Index busy",
        "Documents of the answer were replaced again and again while it was put together.",
    ),
    "insufficient_storage": Kind(
        507,
        "Insufficient storage",
        "The disk is nearly full, so documents are not taken in; searches go on.",
    ),
}
"""Every code this server sends. Clients may rely on code and status; texts may improve."""
