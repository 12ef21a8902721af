"""`/oauth/token`: every grant."""

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import APIRouter, Request, Response

from undercroft.identity.dependencies.oauth.server import OAuthWiring
from undercroft.identity.domain.oauth.clients import (
    AUTHORIZATION_CODE,
    CLIENT_CREDENTIALS,
    DEVICE_CODE,
    REFRESH_TOKEN,
)
from undercroft.identity.domain.oauth.parameters import Parameters
from undercroft.identity.domain.oauth.tokens import TokenPair
from undercroft.identity.errors.oauth import OAuthError, UnauthorizedClientError, UnsupportedGrantTypeError
from undercroft.identity.routes.oauth.answers import answer
from undercroft.identity.routes.oauth.openapi import TOKEN_OPENAPI
from undercroft.identity.routes.oauth.requests import (
    authenticated_client,
    form_parameters,
    new_nonce,
    proof_thumbprint,
)
from undercroft.identity.service.oauth.client_credentials import ClientCredentialsService
from undercroft.identity.service.oauth.codes import PresentedCode
from undercroft.identity.service.tokens import TokenRequest
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.auth import public
from undercroft.shared.db import get_database

Grant = Callable[[OAuthWiring, Parameters, TokenRequest], Awaitable[TokenPair]]

router = APIRouter(tags=["OAuth"])


@router.post("/oauth/token", openapi_extra=TOKEN_OPENAPI)
@public
async def issue_tokens(request: Request) -> Response:
    """Issue tokens for a grant (RFC 6749 section 3.2)."""
    parameters = await form_parameters(request)
    client = await authenticated_client(request, parameters)
    grant_type = parameters.require("grant_type")
    if grant_type != CLIENT_CREDENTIALS and grant_type not in _GRANTS:
        raise UnsupportedGrantTypeError("There is no such grant type here.")
    if grant_type not in client.grant_types:
        raise UnauthorizedClientError("The client is not registered for this grant type.")
    thumbprint = await proof_thumbprint(request, is_required=client.is_dpop_required)
    asked = TokenRequest(client, parameters.get("scope"), parameters.resources, thumbprint)
    if grant_type == CLIENT_CREDENTIALS:
        service: ClientCredentialsService = request.app.state.client_credentials
        pair = await service.issue(asked)
    else:
        pair = await _in_transaction(request, _GRANTS[grant_type], parameters, asked)
    return answer(pair.members(), headers=_nonce_header(request) if thumbprint is not None else None)


async def _in_transaction(
    request: Request, grant: Grant, parameters: Parameters, asked: TokenRequest
) -> TokenPair:
    async with get_database(request).session() as session:
        try:
            pair = await grant(OAuthWiring(request.app, session), parameters, asked)
        except OAuthError as error:
            if error.keeps_changes:
                await session.commit()
            raise
        await session.commit()
    return pair


async def _code(wiring: OAuthWiring, parameters: Parameters, asked: TokenRequest) -> TokenPair:
    presented = PresentedCode(
        parameters.require("code"), parameters.get("redirect_uri"), parameters.get("code_verifier")
    )
    return await wiring.codes.redeem(presented, asked)


async def _refresh(wiring: OAuthWiring, parameters: Parameters, asked: TokenRequest) -> TokenPair:
    return await wiring.tokens.refresh(parameters.require("refresh_token"), asked)


async def _device(wiring: OAuthWiring, parameters: Parameters, asked: TokenRequest) -> TokenPair:
    return await wiring.devices.poll(parameters.require("device_code"), asked)


def _nonce_header(request: Request) -> dict[str, str] | None:
    settings: IdentitySettings = request.app.state.settings
    if not settings.dpop_nonce_required:
        return None
    return {"DPoP-Nonce": new_nonce(request, request.app.state.clock())}


_GRANTS: Final[dict[str, Grant]] = {AUTHORIZATION_CODE: _code, REFRESH_TOKEN: _refresh, DEVICE_CODE: _device}
