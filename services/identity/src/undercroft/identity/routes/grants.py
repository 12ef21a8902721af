"""`/v1/me/grants`: the applications that somebody has connected."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from undercroft.identity.dependencies.accounts import PersonDep
from undercroft.identity.dependencies.oauth.server import OAuthWiring
from undercroft.identity.schemas.grants import ConnectedAppPage
from undercroft.identity.schemas.oauth_clients import OAuthClientId
from undercroft.identity.service.oauth.connected_apps import ConnectedAppService
from undercroft.shared.db import SessionDep
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.pagination import PageParamsDep

router = APIRouter(prefix="/v1/me/grants", tags=["account"], route_class=ServiceRoute)


async def connected_apps(request: Request, session: SessionDep) -> ConnectedAppService:
    """Build the use cases of connected applications for one request."""
    return OAuthWiring(request.app, session).connected_apps


ConnectedAppServiceDep = Annotated[ConnectedAppService, Depends(connected_apps)]


@router.get("")
async def list_connected_apps(
    person: PersonDep, service: ConnectedAppServiceDep, page: PageParamsDep
) -> ConnectedAppPage:
    """List the applications that may act for you."""
    return ConnectedAppPage.of(await service.list(page, user_id=person.user_id))


@router.delete("/{client_id}", status_code=204)
async def disconnect_app(
    client_id: OAuthClientId, person: PersonDep, service: ConnectedAppServiceDep
) -> None:
    """Disconnect an application. Its tokens end at once."""
    await service.disconnect(client_id, user_id=person.user_id)
