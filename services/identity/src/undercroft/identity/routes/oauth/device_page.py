"""`/device`: somebody enters the code that a device shows, and decides what it may do (RFC 8628 section 3.3)."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from undercroft.identity.dependencies.accounts import SignedInDep
from undercroft.identity.dependencies.devices import client_address
from undercroft.identity.dependencies.oauth.server import OAuthWiring
from undercroft.identity.domain.oauth.scope_words import words_for
from undercroft.identity.domain.oauth.user_codes import read_user_code, show_user_code
from undercroft.identity.domain.sign_in import SignedIn
from undercroft.identity.errors.accounts import TooManyAttemptsError
from undercroft.identity.models.oauth import DeviceCode
from undercroft.identity.routes.oauth.consent_page import chosen_organization
from undercroft.identity.routes.pages.page_route import PageRoute, PostedForm
from undercroft.identity.routes.pages.rendering import render, see_other
from undercroft.identity.service.oauth.directory import ClientDirectory
from undercroft.shared.auth import public
from undercroft.shared.db import get_database
from undercroft.shared.ids import TypeId

_PATH: Final = "/device"
_UNKNOWN: Final = "This code is not known. It may have expired: look at your device again."

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(_PATH)
@public
async def show_device(
    request: Request,
    signed_in: SignedInDep,
    user_code: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Ask for the code that a device shows; one that came with the address is still confirmed by a person."""
    if signed_in is None:
        goal = _PATH if not user_code else f"{_PATH}?{urlencode({'user_code': user_code})}"
        return see_other(f"/sign-in?{urlencode({'continue': goal})}")
    return _ask(request, user_code)


@router.post(_PATH)
@public
async def enter_device_code(request: Request, form: PostedForm, signed_in: SignedInDep) -> Response:
    """Show what the device of a code asks for, then take the decision."""
    if signed_in is None:
        return see_other(f"/sign-in?{urlencode({'continue': _PATH})}")
    typed, decision = form.get("user_code", ""), form.get("decision")
    async with get_database(request).session() as session:
        wiring = OAuthWiring(request.app, session)
        try:
            row = await wiring.typed_codes.find(typed, address=client_address(request), lock=True)
        except TooManyAttemptsError as error:
            page = _ask(request, typed, status=error.status, problem=error.detail)
            page.headers["Retry-After"] = error.headers["Retry-After"]
            return page
        if row is None:
            return _ask(request, typed, status=400, problem=_UNKNOWN)
        if decision is None:
            return await _show_request(request, wiring, row, signed_in)
        is_allowed = decision == "allow"
        organization = chosen_organization(form) if is_allowed else None
        await wiring.device_decisions.decide(
            row, signed_in, is_allowed=is_allowed, organization_id=organization
        )
        await session.commit()
    return render(request, "device_done", is_allowed=is_allowed)


def _ask(request: Request, typed: str, *, status: int = 200, problem: str | None = None) -> Response:
    code = read_user_code(typed)
    return render(
        request,
        "device",
        status=status,
        user_code=typed if code is None else show_user_code(code),
        errors={} if problem is None else {"user_code": problem},
    )


async def _show_request(
    request: Request, wiring: OAuthWiring, row: DeviceCode, signed_in: SignedIn
) -> Response:
    directory: ClientDirectory = request.app.state.client_directory
    client = await directory.find(str(TypeId("client", row.client_id)))
    person = await wiring.people.find(signed_in.user_id)
    places = await wiring.people.places(signed_in.user_id)
    return render(
        request,
        "device_consent",
        client=client,
        email="" if person is None else person.email,
        user_code=show_user_code(row.user_code),
        lines=words_for(row.scopes),
        places=[(str(TypeId("org", place.organization_id)), place.name) for place in places],
        chosen=None,
    )
