"""`/v1/oauth-clients`: of the caller's organization, or the operator's own."""

from fastapi import APIRouter, Response

from undercroft.identity.dependencies.callers import IfMatch
from undercroft.identity.dependencies.oauth_clients import ClientReader, ClientWriter, OAuthClientServiceDep
from undercroft.identity.models.oauth import OAuthClient
from undercroft.identity.schemas.oauth_clients import (
    OAuthClientCreate,
    OAuthClientId,
    OAuthClientPage,
    OAuthClientRead,
    OAuthClientRotate,
    OAuthClientUpdate,
    OAuthClientWithSecret,
)
from undercroft.identity.service.oauth.clients import RegisteredClient
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.ids import TypeId
from undercroft.shared.pagination import PageParamsDep
from undercroft.shared.preconditions import etag_for

router = APIRouter(prefix="/v1/oauth-clients", tags=["OAuth clients"], route_class=ServiceRoute)


@router.post("", status_code=201)
async def create_oauth_client(
    body: OAuthClientCreate, owner: ClientWriter, service: OAuthClientServiceDep, response: Response
) -> OAuthClientWithSecret:
    """Register an OAuth client. Its secret is in this answer and never again."""
    read = _show_secret(await service.create(body, owner=owner), response)
    response.headers["Location"] = f"{router.prefix}/{TypeId('client', read.client_id)}"
    return read


@router.get("")
async def list_oauth_clients(
    owner: ClientReader, service: OAuthClientServiceDep, page: PageParamsDep
) -> OAuthClientPage:
    """List OAuth clients, oldest first."""
    return OAuthClientPage.of(await service.list(page, owner=owner))


@router.get("/{client_id}")
async def get_oauth_client(
    client_id: OAuthClientId, owner: ClientReader, service: OAuthClientServiceDep, response: Response
) -> OAuthClientRead:
    """Read an OAuth client."""
    return _show(await service.get(client_id, owner=owner), response)


@router.patch("/{client_id}")
async def update_oauth_client(
    client_id: OAuthClientId,
    body: OAuthClientUpdate,
    *,
    owner: ClientWriter,
    service: OAuthClientServiceDep,
    response: Response,
    if_match: IfMatch = None,
) -> OAuthClientRead:
    """Change an OAuth client; members that are absent stay as they are."""
    return _show(await service.update(client_id, body, owner=owner, if_match=if_match), response)


@router.post("/{client_id}/rotate")
async def rotate_oauth_client_secret(
    client_id: OAuthClientId,
    body: OAuthClientRotate,
    *,
    owner: ClientWriter,
    service: OAuthClientServiceDep,
    response: Response,
    if_match: IfMatch = None,
) -> OAuthClientWithSecret:
    """Replace a client's secret. The old one works until the grace ends."""
    return _show_secret(
        await service.rotate_secret(client_id, body, owner=owner, if_match=if_match), response
    )


@router.delete("/{client_id}", status_code=204)
async def delete_oauth_client(
    client_id: OAuthClientId, owner: ClientWriter, service: OAuthClientServiceDep, if_match: IfMatch = None
) -> None:
    """Delete an OAuth client. What was issued to it ends at once."""
    await service.delete(client_id, owner=owner, if_match=if_match)


def _show(client: OAuthClient, response: Response) -> OAuthClientRead:
    response.headers["ETag"] = etag_for(client.revision)
    return OAuthClientRead.model_validate(client)


def _show_secret(registered: RegisteredClient, response: Response) -> OAuthClientWithSecret:
    response.headers["Cache-Control"] = "no-store"
    read = _show(registered.client, response)
    return OAuthClientWithSecret.model_construct(
        **read.model_dump(by_alias=False), client_secret=registered.secret
    )
