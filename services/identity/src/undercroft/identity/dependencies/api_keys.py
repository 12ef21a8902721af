"""How routes come by the use cases of API keys, and by the owner whose keys they are."""

from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.dependencies.callers import KeyKeeper, Operator, Reader, utc_now
from undercroft.identity.domain.api_keys import KeyOwner
from undercroft.identity.repository.api_keys import ApiKeyRepository, StoredKeys
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.schemas.organizations import OrganizationId
from undercroft.identity.service.api_keys import ApiKeyService, KeyPolicy, KeyRepositories
from undercroft.identity.service.derived_tokens import DerivedTokenService
from undercroft.identity.service.operator_keys import OperatorKeyService
from undercroft.identity.service.verification import VerificationService
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.db import SessionDep


async def api_key_service(request: Request, session: SessionDep) -> ApiKeyService:
    """Build the use cases of API keys for one request."""
    settings: IdentitySettings = request.app.state.settings
    repositories = KeyRepositories(
        keys=ApiKeyRepository(session),
        organizations=OrganizationRepository(session),
        events=EventRepository(session),
    )
    policy = KeyPolicy(mode=settings.key_mode, max_keys=settings.max_api_keys)
    return ApiKeyService(repositories, policy, clock=utc_now)


async def verification_service(request: Request) -> VerificationService:
    """Build the use case of verification for one request; it reads one row and needs no transaction."""
    state = request.app.state
    return VerificationService(StoredKeys(state.reads), state.last_uses, clock=state.clock)


def operator_key_service(session: AsyncSession) -> OperatorKeyService:
    """Build the use cases of operator keys for work that no request asked for."""
    return OperatorKeyService(ApiKeyRepository(session), EventRepository(session), clock=utc_now)


async def organization_keys_for_reading(organization_id: OrganizationId, principal: Reader) -> KeyOwner:
    """Admit a reader to an organization's keys; raises 404 for somebody else's organization."""
    principal.require_organization(organization_id)
    return KeyOwner(principal, organization_id)


async def organization_keys_for_writing(organization_id: OrganizationId, principal: KeyKeeper) -> KeyOwner:
    """Admit a keeper to an organization's keys; raises 404 for somebody else's organization."""
    principal.require_organization(organization_id)
    return KeyOwner(principal, organization_id)


async def operator_keys(principal: Operator) -> KeyOwner:
    """Admit the operator to the operator's own keys."""
    return KeyOwner(principal, None)


async def derived_token_service(request: Request, session: SessionDep) -> DerivedTokenService:
    """Build the use case of derived tokens for one request."""
    state = request.app.state
    return DerivedTokenService(
        ApiKeyRepository(session), state.key_ring, state.token_policy, clock=state.clock
    )


DerivedTokenServiceDep = Annotated[DerivedTokenService, Depends(derived_token_service)]
ApiKeyServiceDep = Annotated[ApiKeyService, Depends(api_key_service)]
VerificationServiceDep = Annotated[VerificationService, Depends(verification_service)]
