"""`/oauth/authorize`: whoever is there signs in and consents, then goes back to the client with a code."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from undercroft.identity.dependencies.accounts import SignedInDep
from undercroft.identity.dependencies.oauth.server import OAuthWiring
from undercroft.identity.domain.oauth.clients import Client
from undercroft.identity.domain.oauth.parameters import Parameters, read_parameters
from undercroft.identity.domain.oauth.redirect_uris import is_registered
from undercroft.identity.domain.oauth.requests import read_request
from undercroft.identity.domain.sign_in import SignedIn
from undercroft.identity.errors.oauth import InvalidRequestError, InvalidRequestUriError, OAuthError
from undercroft.identity.routes.oauth.consent_page import show_consent
from undercroft.identity.routes.oauth.interactions import Pending, open_asked_at, seal_asked_at
from undercroft.identity.routes.oauth.redirects import back_with_code, back_with_error
from undercroft.identity.routes.oauth.requests import any_form_parameters
from undercroft.identity.routes.pages.page_route import PageRoute
from undercroft.identity.routes.pages.rendering import render, see_other
from undercroft.identity.service.oauth.authorization import CodeIssued, ConsentNeeded, SignInNeeded
from undercroft.identity.service.oauth.directory import ClientDirectory
from undercroft.identity.service.oauth.pushed_requests import URN
from undercroft.shared.auth import public
from undercroft.shared.db import get_database

_PATH: Final = "/oauth/authorize"
# Ours, in the address that somebody comes back to from the sign-in page.
_INTERACTION: Final = "interaction"
_FROM: Final = "from"
_SIGN_IN: Final = "sign-in"
_LONGEST_PATH: Final = 3_500

router = APIRouter(tags=["OAuth"], route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request whose client and return address are known."""

    client: Client
    parameters: Parameters
    redirect_uri: str
    request_uri: str | None


@router.get(_PATH, operation_id="authorize")
@public
async def authorize(request: Request, signed_in: SignedInDep) -> Response:
    """Ask whoever is there for access (RFC 6749 section 4.1.1), with PKCE and S256 always."""
    return await _authorize(request, read_parameters(request.url.query), signed_in)


@router.post(_PATH, operation_id="authorize_by_post")
@public
async def authorize_by_post(request: Request, signed_in: SignedInDep) -> Response:
    """Ask whoever is there for access, in a form (OpenID Connect Core section 3.1.2.1)."""
    return await _authorize(request, await any_form_parameters(request), signed_in)


async def _authorize(request: Request, parameters: Parameters, signed_in: SignedIn | None) -> Response:
    if parameters.get(_FROM) == _SIGN_IN:
        return _move_on(request, parameters)
    issuer = request.app.state.settings.issuer
    async with get_database(request).session() as session:
        wiring = OAuthWiring(request.app, session)
        arrived = await _arrive(request, wiring, parameters)
        try:
            response = await _answer(request, wiring, arrived, signed_in)
        except OAuthError as error:
            await session.rollback()
            await _use_up(wiring, arrived)
            state = arrived.parameters.get("state")
            response = back_with_error(arrived.redirect_uri, error, state=state, issuer=issuer)
        await session.commit()
    return response


async def _arrive(request: Request, wiring: OAuthWiring, parameters: Parameters) -> Arrived:
    """Find out whom the answer goes to; whatever is wrong before that is shown here and sent nowhere."""
    directory: ClientDirectory = request.app.state.client_directory
    client_id = parameters.get("client_id")
    client = None if client_id is None else await directory.find(client_id)
    if client is None or client.id is None:
        raise InvalidRequestError("The application that sent you here is not known.")
    request_uri = parameters.get("request_uri")
    if request_uri is not None and request_uri.startswith(URN):
        pushed = await wiring.pushed_requests.find(client, request_uri)
        interaction = {name: parameters.values[name] for name in (_INTERACTION,) if name in parameters.values}
        parameters = Parameters({**pushed.values, **interaction}, pushed.resources)
    else:
        request_uri = None
    redirect_uri = parameters.get("redirect_uri")
    if redirect_uri is None or not is_registered(redirect_uri, client.redirect_uris):
        raise InvalidRequestError("The application that sent you here gave an address that is not its own.")
    return Arrived(client, parameters, redirect_uri, request_uri)


async def _answer(
    request: Request, wiring: OAuthWiring, arrived: Arrived, signed_in: SignedIn | None
) -> Response:
    state = request.app.state
    asked = read_request(
        arrived.client,
        arrived.parameters,
        redirect_uri=arrived.redirect_uri,
        known_resources=state.token_policy.known_resources,
        is_pushed=arrived.request_uri is not None,
    )
    marker = arrived.parameters.get(_INTERACTION)
    asked_at = open_asked_at(state.interaction_sealer, arrived.client.client_id, marker)
    outcome = await wiring.authorization.begin(asked, signed_in, asked_at=asked_at)
    match outcome:
        case SignInNeeded(is_again):
            return await _to_sign_in(request, wiring, arrived, is_again=is_again)
        case ConsentNeeded():
            if arrived.request_uri is not None:
                await wiring.pushed_requests.keep_longer(arrived.request_uri)
            assert signed_in is not None  # noqa: S101  nobody else is asked
            pending = Pending(arrived.parameters, arrived.request_uri, signed_in.session_id)
            return show_consent(request, arrived.client, arrived.redirect_uri, outcome, pending)
        case CodeIssued(code):
            await _use_up(wiring, arrived, is_required=True)
            return back_with_code(arrived.redirect_uri, code, state=asked.state, issuer=state.settings.issuer)


async def _to_sign_in(request: Request, wiring: OAuthWiring, arrived: Arrived, *, is_again: bool) -> Response:
    state = request.app.state
    client_id = arrived.client.client_id
    marker = seal_asked_at(state.interaction_sealer, client_id, state.clock())
    further = [(_INTERACTION, marker), (_FROM, _SIGN_IN)]
    request_uri = arrived.request_uri
    pairs = [pair for pair in arrived.parameters.pairs() if pair[0] != _INTERACTION]
    if request_uri is None and len(urlencode(pairs)) > _LONGEST_PATH:
        request_uri = (await wiring.pushed_requests.keep(arrived.client, arrived.parameters)).request_uri
    if request_uri is not None:
        await wiring.pushed_requests.keep_longer(request_uri)
        pairs = [("client_id", client_id), ("request_uri", request_uri)]
    onward = {"continue": f"{_PATH}?{urlencode([*pairs, *further])}"}
    hint = arrived.parameters.get("login_hint")
    if hint is not None:
        onward["email"] = hint[:254]
    return see_other(f"/sign-in?{'again&' if is_again else ''}{urlencode(onward)}")


async def _use_up(wiring: OAuthWiring, arrived: Arrived, *, is_required: bool = False) -> None:
    """Use a pushed request up: it is answered once, also by a refusal (RFC 9126 section 4)."""
    if arrived.request_uri is None:
        return
    try:
        await wiring.pushed_requests.use(arrived.request_uri)
    except InvalidRequestUriError:
        if is_required:
            raise


def _move_on(request: Request, parameters: Parameters) -> Response:
    """Let the browser begin anew: it would not follow the answer to the sign-in form to another host."""
    pairs = [pair for pair in parameters.pairs() if pair[0] != _FROM]
    return render(request, "move_on", onward=f"{_PATH}?{urlencode(pairs)}")
