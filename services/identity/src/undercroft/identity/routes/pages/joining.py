"""`/register`, `/verify-email` and `/invitation`: how people come in."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from undercroft.identity.dependencies.accounts import (
    PageDeviceDep,
    PagePersonDep,
    SignedInDep,
    Wiring,
    WiringDep,
)
from undercroft.identity.dependencies.members import InvitationServiceDep, invitation_service_of
from undercroft.identity.domain.continuations import continuation
from undercroft.identity.domain.sign_in import Method
from undercroft.identity.errors.accounts import TooManyAttemptsError
from undercroft.identity.routes.pages.form_errors import read_model, sentences
from undercroft.identity.routes.pages.page_route import Form, PageRoute, PostedForm
from undercroft.identity.routes.pages.rendering import render, see_other
from undercroft.identity.routes.pages.sign_in import HOME, Onward, enter, refused
from undercroft.identity.schemas.users import AddressOnly, UserCreate
from undercroft.shared.auth import public
from undercroft.shared.errors import ServiceError, UnprocessableError

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Token = Annotated[str, Query(max_length=200)]


@router.get("/register")
@public
async def show_register(request: Request, wiring: WiringDep, onward: Onward = None) -> Response:
    """Ask for what an account needs."""
    return _register_page(request, wiring, continuation(onward, otherwise=HOME), {})


@router.post("/register")
@public
async def register(request: Request, form: PostedForm, wiring: WiringDep, device: PageDeviceDep) -> Response:
    """Register; every address leads to the same page."""
    goal = continuation(form.get("continue"), otherwise=HOME)
    try:
        new = read_model(UserCreate, _registration(form))
        onward = "" if goal == HOME else goal
        await wiring.registrations.register(new, device=device, onward=onward)
    except (UnprocessableError, TooManyAttemptsError) as error:
        return refused(_register_page(request, wiring, goal, form, error), error)
    return see_other(f"/register/sent?{urlencode({'continue': goal})}")


@router.get("/register/sent")
@public
async def show_registered(request: Request, onward: Onward = None) -> Response:
    """Tell that a mail is on its way."""
    goal = continuation(onward, otherwise=HOME)
    return render(request, "register_sent", further=urlencode({"continue": goal}))


@router.post("/register/again")
@public
async def send_again(
    request: Request, form: PostedForm, wiring: WiringDep, device: PageDeviceDep
) -> Response:
    """Send the mail of a registration again, if there is one."""
    try:
        address = read_model(AddressOnly, {"email": form.get("email", "")})
        await wiring.registrations.send_again(address.email, device=device)
    except (UnprocessableError, TooManyAttemptsError) as error:
        page = render(
            request, "register_sent", status=error.status, further="", errors=sentences(error), values=form
        )
        return refused(page, error)
    return see_other("/register/sent")


@router.get("/verify-email")
@public
async def show_verify_email(request: Request, token: Token = "", onward: Onward = None) -> Response:
    """Ask for a click: programs that look into mails follow links too, and must not use them up."""
    goal = continuation(onward, otherwise=HOME)
    return render(request, "verify_email", token=token, onward=goal)


@router.post("/verify-email")
@public
async def verify_email(form: PostedForm, wiring: WiringDep, signed_in: SignedInDep) -> Response:
    """Confirm an address: of a registration, or of a change."""
    goal = continuation(form.get("continue"), otherwise=HOME)
    token = form.get("token", "")
    user = await wiring.registrations.confirm(token) or await wiring.accounts.confirm_address(token)
    user = wiring.registrations.require_link(user)
    if signed_in is not None and signed_in.user_id == user.id:
        return see_other("/account?notice=email-changed")
    query = {"continue": goal, "notice": "confirmed", "email": user.email}
    return see_other(f"/sign-in?{urlencode(query)}")


@router.get("/invitation")
@public
async def show_invitation(
    request: Request, wiring: WiringDep, signed_in: SignedInDep, token: Token = ""
) -> Response:
    """Show what an invitation is about, and the ways to accept it."""
    email = None if signed_in is None else (await wiring.accounts.get(signed_in.user_id)).email
    return await _invitation_page(request, wiring, {"token": token}, own_email=email)


@router.post("/invitation/accept")
@public
async def accept_invitation(
    form: PostedForm, person: PagePersonDep, invitations: InvitationServiceDep
) -> Response:
    """Accept as whoever is signed in."""
    await invitations.accept(form.get("token", ""), person=person)
    return see_other("/account?notice=joined")


@router.post("/invitation/register")
@public
async def register_by_invitation(
    request: Request, form: PostedForm, wiring: WiringDep, device: PageDeviceDep
) -> Response:
    """Register with an invitation and be signed in: its link has proved the address."""
    try:
        new = read_model(UserCreate, _registration(form))
        user = await invitation_service_of(wiring).register(form.get("token", ""), new, device=device)
        done = await wiring.sign_in.open(user, methods=(Method.PASSWORD,), device=device)
    except (UnprocessableError, TooManyAttemptsError) as error:
        return refused(await _invitation_page(request, wiring, form, error=error), error)
    return enter(request, done, "/account?notice=joined")


async def _invitation_page(
    request: Request,
    wiring: Wiring,
    form: Form,
    *,
    own_email: str | None = None,
    error: ServiceError | None = None,
) -> Response:
    token = form["token"]
    invitation = await invitation_service_of(wiring).see(token)
    return render(
        request,
        "invitation",
        status=200 if error is None else error.status,
        invitation=invitation,
        token=token,
        own_email=own_email,
        is_own=own_email is not None and own_email.lower() == invitation.email.lower(),
        here=urlencode({"continue": f"/invitation?{urlencode({'token': token})}", "email": invitation.email}),
        values=form,
        errors={} if error is None else sentences(error),
    )


def _register_page(
    request: Request, wiring: Wiring, goal: str, form: Form, error: ServiceError | None = None
) -> Response:
    return render(
        request,
        "register",
        status=200 if error is None else error.status,
        onward=goal,
        further=urlencode({"continue": goal}),
        values=form,
        errors={} if error is None else sentences(error),
        is_open=wiring.settings.sign_up == "open",
        may_found=wiring.settings.organization_creation == "open",
        min_length=wiring.settings.password_min_length,
    )


def _registration(form: Form) -> dict[str, object]:
    organization = form.get("organization", "").strip()
    return {
        "email": form.get("email", ""),
        "password": form.get("password", ""),
        "name": form.get("name", "").strip(),
        **({"organization": {"name": organization}} if organization else {}),
    }
