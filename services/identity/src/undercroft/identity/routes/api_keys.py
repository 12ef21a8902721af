"""`/v1/organizations/{organization_id}/api-keys` and `/v1/api-keys`: the same routes for two kinds of owner."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Request, Response

from undercroft.identity.dependencies.api_keys import (
    ApiKeyServiceDep,
    DerivedTokenServiceDep,
    operator_keys,
    organization_keys_for_reading,
    organization_keys_for_writing,
)
from undercroft.identity.dependencies.callers import IfMatch
from undercroft.identity.domain.api_keys import KeyOwner
from undercroft.identity.models.api_keys import ApiKey
from undercroft.identity.schemas.api_keys import (
    ApiKeyCreate,
    ApiKeyId,
    ApiKeyPage,
    ApiKeyRead,
    ApiKeyRotate,
    ApiKeyUpdate,
    ApiKeyWithSecret,
    DerivedToken,
    DerivedTokenCreate,
)
from undercroft.identity.service.api_keys import MintedKey
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.ids import TypeId
from undercroft.shared.pagination import PageParamsDep
from undercroft.shared.preconditions import etag_for

AdmitOwner: TypeAlias = Callable[..., Awaitable[KeyOwner]]


def api_key_router(prefix: str, *, kind: str, read: AdmitOwner, write: AdmitOwner) -> APIRouter:
    """Return the routes of one kind of owner; `read` and `write` admit the caller and name the owner.

    The kind tells apart in the API's document what would have the same names.
    """
    router = APIRouter(prefix=prefix, tags=["API keys"], route_class=ServiceRoute)
    reader = Annotated[KeyOwner, Depends(read)]
    writer = Annotated[KeyOwner, Depends(write)]

    @router.post("", status_code=201, name=f"create_{kind}_api_key")
    async def create_api_key(
        body: ApiKeyCreate, owner: writer, service: ApiKeyServiceDep, request: Request, response: Response
    ) -> ApiKeyWithSecret:
        """Create an API key. The secret is in this answer and never again."""
        read = _show_secret(await service.create(body, owner=owner), response)
        response.headers["Location"] = f"{request.url.path}/{TypeId('key', read.id)}"
        return read

    @router.get("", name=f"list_{kind}_api_keys")
    async def list_api_keys(owner: reader, service: ApiKeyServiceDep, page: PageParamsDep) -> ApiKeyPage:
        """List API keys, oldest first."""
        return ApiKeyPage.of(await service.list(page, owner=owner))

    @router.get("/{key_id}", name=f"get_{kind}_api_key")
    async def get_api_key(
        key_id: ApiKeyId, owner: reader, service: ApiKeyServiceDep, response: Response
    ) -> ApiKeyRead:
        """Read an API key."""
        return _show(await service.get(key_id, owner=owner), response)

    @router.patch("/{key_id}", name=f"update_{kind}_api_key")
    async def update_api_key(
        key_id: ApiKeyId,
        body: ApiKeyUpdate,
        *,
        owner: writer,
        service: ApiKeyServiceDep,
        response: Response,
        if_match: IfMatch = None,
    ) -> ApiKeyRead:
        """Change an API key; members that are absent stay as they are. Its secret stays."""
        return _show(await service.update(key_id, body, owner=owner, if_match=if_match), response)

    @router.post("/{key_id}/rotate", name=f"rotate_{kind}_api_key")
    async def rotate_api_key(
        key_id: ApiKeyId,
        body: ApiKeyRotate,
        *,
        owner: writer,
        service: ApiKeyServiceDep,
        response: Response,
        if_match: IfMatch = None,
    ) -> ApiKeyWithSecret:
        """Replace an API key's secret. The old one works until the grace ends."""
        return _show_secret(await service.rotate(key_id, body, owner=owner, if_match=if_match), response)

    @router.post("/{key_id}/tokens", status_code=201, name=f"derive_{kind}_token")
    async def derive_token(
        key_id: ApiKeyId,
        body: DerivedTokenCreate,
        owner: writer,
        service: DerivedTokenServiceDep,
        response: Response,
    ) -> DerivedToken:
        """Derive a short-lived token that opens less than the key. It ends with the key."""
        response.headers["Cache-Control"] = "no-store"
        return DerivedToken.model_validate(await service.derive(key_id, body, owner=owner))

    @router.delete("/{key_id}", status_code=204, name=f"revoke_{kind}_api_key")
    async def revoke_api_key(
        key_id: ApiKeyId, owner: writer, service: ApiKeyServiceDep, if_match: IfMatch = None
    ) -> None:
        """Revoke an API key. It stops working at once."""
        await service.revoke(key_id, owner=owner, if_match=if_match)

    return router


def _show(key: ApiKey, response: Response) -> ApiKeyRead:
    response.headers["ETag"] = etag_for(key.revision)
    return ApiKeyRead.model_validate(key)


def _show_secret(minted: MintedKey, response: Response) -> ApiKeyWithSecret:
    response.headers["Cache-Control"] = "no-store"
    read = _show(minted.key, response)
    return ApiKeyWithSecret(**read.model_dump(by_alias=False), secret=minted.secret)


organization_router = api_key_router(
    "/v1/organizations/{organization_id}/api-keys",
    kind="organization",
    read=organization_keys_for_reading,
    write=organization_keys_for_writing,
)
operator_router = api_key_router("/v1/api-keys", kind="operator", read=operator_keys, write=operator_keys)
