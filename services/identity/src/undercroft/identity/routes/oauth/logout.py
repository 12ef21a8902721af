"""`/oauth/logout`: signing out on behalf of a client (OpenID Connect RP-Initiated Logout 1.0)."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from undercroft.identity.dependencies.accounts import SignedInDep
from undercroft.identity.dependencies.devices import forget_sign_in
from undercroft.identity.dependencies.oauth.server import OAuthWiring
from undercroft.identity.domain.oauth.clients import Client
from undercroft.identity.domain.oauth.parameters import Parameters, read_parameters
from undercroft.identity.domain.oauth.redirect_uris import is_registered, origin_of, with_parameters
from undercroft.identity.domain.oauth.user_claims import subject_of
from undercroft.identity.domain.sign_in import SignedIn
from undercroft.identity.errors.oauth import InvalidRequestError
from undercroft.identity.routes.oauth.requests import form_parameters
from undercroft.identity.routes.pages.page_route import PageRoute, PostedForm
from undercroft.identity.routes.pages.rendering import render, see_other
from undercroft.identity.service.oauth.access_tokens import TokenReader
from undercroft.identity.service.oauth.directory import ClientDirectory
from undercroft.shared.auth import public
from undercroft.shared.db import get_database

_SIGNED_OUT: Final = "/sign-in?notice=signed-out"

router = APIRouter(tags=["OpenID Connect"], route_class=PageRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """Where somebody goes after signing out, and whose ID token the client holds."""

    return_to: str
    is_client_known: bool
    subject: str | None


@router.get("/oauth/logout", operation_id="end_session")
@public
async def end_session(request: Request, signed_in: SignedInDep) -> Response:
    """Sign somebody out of this service, and send them back to the client."""
    return await _end_session(request, read_parameters(request.url.query), signed_in)


@router.post("/oauth/logout", operation_id="end_session_by_post")
@public
async def end_session_by_post(request: Request, signed_in: SignedInDep) -> Response:
    """Sign somebody out of this service, in a form."""
    return await _end_session(request, await form_parameters(request), signed_in)


@pages.post("/oauth/logout/decision")
@public
async def decide_logout(request: Request, form: PostedForm, signed_in: SignedInDep) -> Response:
    """Sign out whoever has confirmed it."""
    asked = await _read(request, read_parameters(form.get("request", "")))
    if form.get("decision") != "sign-out":
        return see_other("/account")
    return await _sign_out(request, asked, signed_in)


async def _end_session(request: Request, parameters: Parameters, signed_in: SignedIn | None) -> Response:
    parameters.require_unrepeated()
    asked = await _read(request, parameters)
    if signed_in is None or asked.subject == subject_of(signed_in.user_id):
        return await _sign_out(request, asked, signed_in)
    # Without an ID token of this person any site could have sent the request.
    targets = (origin_of(asked.return_to),) if asked.is_client_known else ()
    return render(request, "logout", form_targets=targets, request_text=urlencode(parameters.pairs()))


async def _read(request: Request, parameters: Parameters) -> LogoutRequest:
    reader: TokenReader = request.app.state.token_reader
    hint = parameters.get("id_token_hint")
    claims = None if hint is None else await reader.read_id_token(hint)
    if hint is not None and claims is None:
        raise InvalidRequestError("The id_token_hint is not an ID token of this server.")
    audience = None if claims is None else str(claims["aud"])
    if parameters.get("client_id") not in {None, audience} and audience is not None:
        raise InvalidRequestError("The id_token_hint is another application's.")
    return_to = await _return_to(request, parameters, parameters.get("client_id") or audience)
    subject = None if claims is None else str(claims["sub"])
    return LogoutRequest(return_to or _SIGNED_OUT, return_to is not None, subject)


async def _return_to(request: Request, parameters: Parameters, client_id: str | None) -> str | None:
    """Return the registered address that the client wants, None when it is not one: then nobody is sent away."""
    directory: ClientDirectory = request.app.state.client_directory
    address, state = parameters.get("post_logout_redirect_uri"), parameters.get("state")
    client: Client | None = None if client_id is None else await directory.find(client_id)
    if address is None or client is None or not is_registered(address, client.post_logout_redirect_uris):
        return None
    return address if state is None else with_parameters(address, [("state", state)])


async def _sign_out(request: Request, asked: LogoutRequest, signed_in: SignedIn | None) -> Response:
    response: RedirectResponse = see_other(asked.return_to)
    if signed_in is not None:
        async with get_database(request).begin() as session:
            wiring = OAuthWiring(request.app, session)
            actor = subject_of(signed_in.user_id)
            await wiring.sessions.end_all(signed_in.user_id, actor=actor, only=signed_in.session_id)
    forget_sign_in(request, response)
    return response
