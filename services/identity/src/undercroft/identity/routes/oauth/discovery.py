"""`/.well-known/...`: what clients and verifiers find out by themselves."""

from typing import Final

from fastapi import APIRouter, Request, Response

from undercroft.identity.domain.oauth.metadata import metadata
from undercroft.identity.routes.oauth.answers import JSON
from undercroft.identity.service.signing import KeyRing
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.auth import public
from undercroft.shared.serialization import dumps

_HEADERS: Final = {"Cache-Control": "public, max-age=300"}

router = APIRouter(prefix="/.well-known", tags=["OpenID Connect"])


# The issuer has no path, so that both standards look in the same place.
@router.get(
    "/openid-configuration", operation_id="get_openid_configuration", summary="Get OpenID configuration"
)
@router.get(
    "/oauth-authorization-server",
    operation_id="get_authorization_server_metadata",
    summary="Get authorization server metadata",
)
@public
async def get_metadata(request: Request) -> Response:
    """Describe the authorization server (OpenID Connect Discovery, RFC 8414)."""
    settings: IdentitySettings = request.app.state.settings
    return Response(dumps(metadata(settings.issuer)), headers=_HEADERS, media_type=JSON)


@router.get("/jwks.json")
@public
async def get_keys(request: Request) -> Response:
    """Publish the keys that tokens are signed with (RFC 7517)."""
    ring: KeyRing = request.app.state.key_ring
    return Response(dumps({"keys": await ring.published_jwks()}), headers=_HEADERS, media_type=JSON)
