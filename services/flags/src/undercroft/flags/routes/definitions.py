"""One flag in one environment over HTTP, as flagd defines it."""

from typing import Annotated, Final

from fastapi import APIRouter, Body

from undercroft.flags.dependencies import DefinitionServiceDep, FollowCommit, ReaderDep, WriterDep
from undercroft.flags.schemas.names import JsonObject
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.preconditions import IfMatch
from undercroft.shared.serialization import JsonResponse

router = APIRouter(prefix="/v1/flags/{key}/environments", tags=["flags"], route_class=ServiceRoute)

_EXAMPLE: Final = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": {"if": [{"==": [{"var": "organization.plan"}, "pro"]}, "on", "off"]},
}
DefinitionBody = Annotated[
    JsonObject,
    Body(description="A flagd flag definition (flagd.dev/schema/v0/flags.json).", examples=[_EXAMPLE]),
]


@router.get("/{environment}", response_model=JsonObject)
async def get_definition(
    _: ReaderDep, key: str, environment: str, definitions: DefinitionServiceDep
) -> JsonResponse:
    """Return what the flag means in the environment."""
    definition = await definitions.get(key, environment)
    return JsonResponse(definition.content, headers={"ETag": definition.etag})


@router.put("/{environment}", response_model=JsonObject, dependencies=[FollowCommit])
async def put_definition(
    _: WriterDep,
    key: str,
    environment: str,
    definition: DefinitionBody,
    definitions: DefinitionServiceDep,
    if_match: IfMatch = None,
) -> JsonResponse:
    """Define the flag in the environment; without `variants`, with those of the flag."""
    stored = await definitions.put(key, environment, definition, if_match=if_match)
    return JsonResponse(stored.content, headers={"ETag": stored.etag})
