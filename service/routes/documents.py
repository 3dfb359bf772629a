"""Documents: read one."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from lsr.errors import UsageError

from ..problems import ProblemError
from ..wire.documents import StoredDocument
from .answering import IndexName, engine_of, json, problems

router = APIRouter()


@router.get(
    "/v1/indexes/{name}/documents/{id:path}",
    tags=["documents"],
    summary="Read one document",
    response_model=StoredDocument,
    responses=problems(404, 503),
)
def read_document(
    name: IndexName,
    id: Annotated[str, Path(description="The document's id, percent-encoded; it may hold '/'.")],
    request: Request,
) -> Response:
    """The stored fields of a document, as they were given."""
    collection = engine_of(request).collection(name)
    try:
        document = collection.index.get(id)
    except UsageError:  # it was deleted between the look-up and the reading
        document = None
    if document is None:
        raise ProblemError(
            "unknown_document",
            f"Index '{name}' holds no document with the id '{id[:100]}'.",
            hint="Ids are the caller's own strings; percent-encode what addresses reserve.",
        )
    return json({"index": name, "id": document.doc_id, "fields": dict(document.fields)})
