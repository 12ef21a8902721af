"""The page on which somebody decides what an application may do, and what follows from it."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from undercroft.identity.dependencies.accounts import SignedInDep
from undercroft.identity.dependencies.oauth.server import OAuthWiring
from undercroft.identity.domain.oauth.clients import Client
from undercroft.identity.domain.oauth.redirect_uris import is_registered, origin_of
from undercroft.identity.domain.oauth.requests import read_request
from undercroft.identity.domain.oauth.scope_words import words_for
from undercroft.identity.errors.oauth import InvalidRequestError, OAuthError
from undercroft.identity.errors.pages import FormMalformedError, SignInNeededError
from undercroft.identity.routes.oauth.interactions import Pending, open_pending, seal_pending
from undercroft.identity.routes.oauth.redirects import back_with_code, back_with_error
from undercroft.identity.routes.pages.page_route import PageRoute, PostedForm
from undercroft.identity.routes.pages.rendering import render
from undercroft.identity.service.oauth.authorization import ConsentNeeded
from undercroft.identity.service.oauth.directory import ClientDirectory
from undercroft.shared.auth import public
from undercroft.shared.db import get_database
from undercroft.shared.ids import InvalidIdError, TypeId

router = APIRouter(include_in_schema=False, route_class=PageRoute)


def show_consent(
    request: Request, client: Client, redirect_uri: str, needed: ConsentNeeded, pending: Pending
) -> Response:
    """Show what an application asks for."""
    return render(
        request,
        "consent",
        form_targets=(origin_of(redirect_uri),),
        client=client,
        host=origin_of(redirect_uri),
        email=needed.email,
        lines=words_for(needed.scopes),
        places=[(str(TypeId("org", place.organization_id)), place.name) for place in needed.places],
        chosen=None if needed.chosen is None else str(TypeId("org", needed.chosen)),
        pending=seal_pending(request.app.state.interaction_sealer, pending),
    )


@router.post("/oauth/authorize/decision")
@public
async def decide(request: Request, form: PostedForm, signed_in: SignedInDep) -> Response:
    """Take somebody's decision back to the application."""
    if signed_in is None:
        raise SignInNeededError("/account")
    state = request.app.state
    pending = open_pending(state.interaction_sealer, form.get("pending", ""), session_id=signed_in.session_id)
    parameters = pending.parameters
    directory: ClientDirectory = state.client_directory
    client = await directory.find(parameters.require("client_id"))
    redirect_uri = parameters.require("redirect_uri")
    if client is None or not is_registered(redirect_uri, client.redirect_uris):
        raise InvalidRequestError("The application that sent you here is no longer known.")
    async with get_database(request).session() as session:
        wiring = OAuthWiring(request.app, session)
        if pending.request_uri is not None:
            await wiring.pushed_requests.use(pending.request_uri)
        back = {"state": parameters.get("state"), "issuer": state.settings.issuer}
        try:
            asked = read_request(
                client,
                parameters,
                redirect_uri=redirect_uri,
                known_resources=state.token_policy.known_resources,
                is_pushed=pending.request_uri is not None,
            )
            issued = await wiring.authorization.decide(
                asked,
                signed_in,
                is_allowed=form.get("decision") == "allow",
                organization_id=chosen_organization(form),
            )
            response = back_with_code(redirect_uri, issued.code, **back)
        except OAuthError as error:
            response = back_with_error(redirect_uri, error, **back)
        await session.commit()
    return response


def chosen_organization(form: PostedForm) -> UUID | None:
    """Return the organization that a form names; raises `FormMalformedError`."""
    text = form.get("organization")
    try:
        return None if not text else TypeId.parse(text, expect="org").uuid
    except InvalidIdError:
        raise FormMalformedError("The form cannot be read.") from None
