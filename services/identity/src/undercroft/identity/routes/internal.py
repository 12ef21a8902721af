"""What other deployables ask; the gateway forwards none of it."""

from fastapi import APIRouter

from undercroft.identity.dependencies.api_keys import VerificationServiceDep
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
