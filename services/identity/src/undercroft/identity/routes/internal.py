"""What other deployables ask; the gateway forwards none of it."""

from fastapi import APIRouter

from undercroft.identity.dependencies.access import AccessServiceDep
from undercroft.identity.dependencies.api_keys import VerificationServiceDep
from undercroft.identity.schemas.access import Access, AccessQuestion
from undercroft.identity.schemas.api_keys import SecretToVerify, VerifiedKey
from undercroft.shared.auth import ServicePrincipal
from undercroft.shared.idempotency import ServiceRoute

router = APIRouter(prefix="/internal", include_in_schema=False, route_class=ServiceRoute)


@router.post("/api-keys/verify")
async def verify_api_key(
    body: SecretToVerify, _: ServicePrincipal, service: VerificationServiceDep
) -> VerifiedKey:
    """Tell what a secret opens; 404 `api_key_invalid` when it opens nothing."""
    return await service.verify(body.secret)


@router.post("/access")
async def find_access(body: AccessQuestion, _: ServicePrincipal, service: AccessServiceDep) -> Access:
    """Tell what the subject of a token may do now; 404 `access_ended` when what it was issued for has ended."""
    return await service.find(body)
