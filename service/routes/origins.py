"""Which words of a document gave it its terms."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..access import needs
from ..search.tracing import origins
from ..wire.origins import OriginsRequest, OriginsResponse
from .answering import (
    OF_INDEX,
    DocumentId,
    IndexName,
    collection_of,
    json,
    problems,
)
from .guarding import GuardedRoute

router = APIRouter(route_class=GuardedRoute)


@router.post(
    "/v1/indexes/{name}/origins/{id:any}",
    tags=["search"],
    summary="Say which words gave a document its terms",
    response_model=OriginsResponse,
    responses=problems(*OF_INDEX, "unknown_document", "invalid_query", "origins_unavailable"),
)
@needs("search")
def document_origins(
    name: IndexName, id: DocumentId, body: OriginsRequest, request: Request
) -> Response:
    """A network reads the document again and tells where each term had its largest weight.

    A term that the text does not hold, an expansion, leads back to the words it came from.
    """
    return json(origins(collection_of(request, name), id, body))
