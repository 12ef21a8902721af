"""An environment's whole flagd document over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from undercroft.flags.dependencies import DocumentServiceDep, FollowCommit, ReaderDep, WriterDep
from undercroft.flags.schemas.environments import DocumentResult
from undercroft.flags.schemas.names import JsonObject
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.preconditions import IfMatch
from undercroft.shared.serialization import JsonResponse

router = APIRouter(
    prefix="/v1/environments/{environment}/flagd", tags=["environments"], route_class=ServiceRoute
)

DocumentBody = Annotated[
    JsonObject,
    Body(description='A flagd document: {"flags": {...}, "$evaluators": {...}, "metadata": {...}}.'),
]


@router.get("", response_model=JsonObject)
async def export_flagd_document(
    _: ReaderDep, environment: str, documents: DocumentServiceDep
) -> JsonResponse:
    """Export the environment in flagd's format, as it was imported."""
    document = await documents.get(environment)
    return JsonResponse(document.content, headers={"ETag": document.etag})


@router.put("", dependencies=[FollowCommit])
async def import_flagd_document(
    _: WriterDep,
    environment: str,
    document: DocumentBody,
    documents: DocumentServiceDep,
    response: Response,
    if_match: IfMatch = None,
) -> DocumentResult:
    """Replace everything that the environment evaluates; flags that are absent leave it."""
    imported = await documents.put(environment, document, if_match=if_match)
    response.headers["ETag"] = imported.etag
    return imported.result
