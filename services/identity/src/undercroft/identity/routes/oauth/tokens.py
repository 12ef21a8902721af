"""`/oauth/introspect` and `/oauth/revoke`: what clients ask about tokens, and ending them."""

from typing import Final

from fastapi import APIRouter, Request, Response

from undercroft.identity.dependencies.oauth.server import OAuthWiring, introspection_service
from undercroft.identity.errors.oauth import InvalidClientError
from undercroft.identity.routes.oauth.answers import answer, nothing
from undercroft.identity.routes.oauth.openapi import INTROSPECT_OPENAPI, REVOKE_OPENAPI
from undercroft.identity.routes.oauth.requests import authenticated_client, form_parameters
from undercroft.shared.auth import public
from undercroft.shared.db import get_database

_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="undercroft", charset="UTF-8"'}
_INACTIVE: Final = {"active": False}

router = APIRouter(tags=["OAuth"])


@router.post("/oauth/introspect", openapi_extra=INTROSPECT_OPENAPI)
@public
async def introspect_token(request: Request) -> Response:
    """Tell a confidential client whether a token is alive, and what it is (RFC 7662)."""
    parameters = await form_parameters(request)
    client = await authenticated_client(request, parameters)
    if not client.is_confidential:
        raise InvalidClientError("Only clients with a secret may ask.", headers=_CHALLENGE)
    token = parameters.require("token")
    return answer(await introspection_service(request.app).introspect(token, client) or _INACTIVE)


@router.post("/oauth/revoke", openapi_extra=REVOKE_OPENAPI)
@public
async def revoke_token(request: Request) -> Response:
    """End a token; with a refresh token everything that was issued with it (RFC 7009)."""
    parameters = await form_parameters(request)
    client = await authenticated_client(request, parameters)
    token = parameters.require("token")
    async with get_database(request).begin() as session:
        await OAuthWiring(request.app, session).revocation.revoke(token, client)
    return nothing()
