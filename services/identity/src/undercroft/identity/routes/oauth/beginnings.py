"""`/oauth/par` and `/oauth/device_authorization`: how clients begin without a browser."""

from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from undercroft.identity.dependencies.oauth.server import OAuthWiring
from undercroft.identity.domain.oauth.clients import DEVICE_CODE
from undercroft.identity.domain.oauth.user_codes import show_user_code
from undercroft.identity.errors.oauth import UnauthorizedClientError
from undercroft.identity.routes.oauth.answers import answer
from undercroft.identity.routes.oauth.openapi import DEVICE_OPENAPI, PAR_OPENAPI
from undercroft.identity.routes.oauth.requests import authenticated_client, form_parameters, proof_thumbprint
from undercroft.identity.service.tokens import TokenRequest
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.auth import public
from undercroft.shared.db import get_database

router = APIRouter(tags=["OAuth"])


@router.post("/oauth/par", status_code=201, openapi_extra=PAR_OPENAPI)
@public
async def push_authorization_request(request: Request) -> Response:
    """Take an authorization request beforehand and name it (RFC 9126)."""
    parameters = await form_parameters(request)
    client = await authenticated_client(request, parameters)
    if client.id is None:
        raise UnauthorizedClientError("This client asks for nothing.")
    thumbprint = await proof_thumbprint(request)
    async with get_database(request).begin() as session:
        pushed = await OAuthWiring(request.app, session).pushed_requests.push(
            client, parameters, thumbprint=thumbprint
        )
    return answer({"request_uri": pushed.request_uri, "expires_in": pushed.expires_in}, status=201)


@router.post("/oauth/device_authorization", openapi_extra=DEVICE_OPENAPI)
@public
async def authorize_device(request: Request) -> Response:
    """Make the codes with which a device without a browser asks for access (RFC 8628)."""
    parameters = await form_parameters(request)
    client = await authenticated_client(request, parameters)
    if DEVICE_CODE not in client.grant_types:
        raise UnauthorizedClientError("The client is not registered for devices.")
    asked = TokenRequest(client, parameters.get("scope"), parameters.resources)
    async with get_database(request).begin() as session:
        started = await OAuthWiring(request.app, session).devices.start(asked)
    settings: IdentitySettings = request.app.state.settings
    user_code, page = show_user_code(started.user_code), f"{settings.issuer}/device"
    members = {
        "device_code": started.device_code,
        "user_code": user_code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?{urlencode({'user_code': user_code})}",
        "expires_in": started.expires_in,
        "interval": started.interval,
    }
    return answer(members)
