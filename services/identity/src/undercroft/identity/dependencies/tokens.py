"""How routes come by tokens."""

from typing import Annotated

from fastapi import Depends, FastAPI, Request
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.domain.oauth.tokens import TokenPolicy
from undercroft.identity.domain.sealing import Sealer
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.repository.oauth.people import PeopleRepository
from undercroft.identity.service.tokens import TokenRepositories, TokenService
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.db import SessionDep
from undercroft.shared.settings import derive_key

_DAY_SECONDS = 86_400


def token_policy(settings: IdentitySettings) -> TokenPolicy:
    """Return what settings say about tokens."""
    return TokenPolicy(
        issuer=settings.issuer,
        resources=settings.resources,
        access_token_seconds=settings.access_token_seconds,
        id_token_seconds=settings.id_token_seconds,
        refresh_token_idle_seconds=settings.refresh_token_idle_days * _DAY_SECONDS,
        grant_seconds=settings.grant_life_days * _DAY_SECONDS,
        grace_seconds=settings.refresh_token_grace_seconds,
    )


def install_tokens(app: FastAPI) -> None:
    """Put on `app.state` what every token of this application is made with."""
    settings: IdentitySettings = app.state.settings
    app.state.token_policy = token_policy(settings)
    app.state.refresh_token_sealer = Sealer(derive_key(settings.secret_key, "refresh tokens"))


def token_service_on(app: FastAPI, session: AsyncSession) -> TokenService:
    """Build the use cases of tokens on a session."""
    repositories = TokenRepositories(
        GrantRepository(session), PeopleRepository(session), EventRepository(session)
    )
    state = app.state
    return TokenService(
        repositories, state.key_ring, state.token_policy, state.refresh_token_sealer, clock=state.clock
    )


async def token_service(request: Request, session: SessionDep) -> TokenService:
    """Build the use cases of tokens for one request."""
    return token_service_on(request.app, session)


TokenServiceDep = Annotated[TokenService, Depends(token_service)]
