"""How routes come by the use cases of OAuth clients and by whose they are."""

from typing import Annotated

from fastapi import Depends, Request

from undercroft.identity.dependencies.callers import Reader, Writer
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.oauth.clients import ClientRepository
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.service.oauth.client_checks import ClientOwner
from undercroft.identity.service.oauth.clients import ClientRepositories, OAuthClientService
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.auth import Principal
from undercroft.shared.db import SessionDep
from undercroft.shared.errors import ForbiddenError


async def oauth_client_service(request: Request, session: SessionDep) -> OAuthClientService:
    """Build the use cases of clients for one request."""
    settings: IdentitySettings = request.app.state.settings
    repositories = ClientRepositories(
        clients=ClientRepository(session),
        grants=GrantRepository(session),
        organizations=OrganizationRepository(session),
        events=EventRepository(session),
    )
    return OAuthClientService(
        repositories, max_clients=settings.max_oauth_clients, clock=request.app.state.clock
    )


def _owner(principal: Principal) -> ClientOwner:
    if principal.organization_id is None and not principal.is_operator:
        raise ForbiddenError("Choose an organization, or be the operator.", code="insufficient_scope")
    return ClientOwner(principal, principal.organization_id)


async def clients_for_reading(principal: Reader) -> ClientOwner:
    """Admit a reader to the clients of its organization, or the operator to its own."""
    return _owner(principal)


async def clients_for_writing(principal: Writer) -> ClientOwner:
    """Admit a writer to the clients of its organization, or the operator to its own."""
    return _owner(principal)


OAuthClientServiceDep = Annotated[OAuthClientService, Depends(oauth_client_service)]
ClientReader = Annotated[ClientOwner, Depends(clients_for_reading)]
ClientWriter = Annotated[ClientOwner, Depends(clients_for_writing)]
