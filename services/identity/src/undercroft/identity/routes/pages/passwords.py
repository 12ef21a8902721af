"""`/forgot-password` and `/reset-password`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from undercroft.identity.dependencies.accounts import PageDeviceDep, WiringDep
from undercroft.identity.errors.accounts import LinkInvalidError, TooManyAttemptsError
from undercroft.identity.routes.pages.form_errors import read_model, sentences
from undercroft.identity.routes.pages.page_route import PageRoute, PostedForm
from undercroft.identity.routes.pages.rendering import render, see_other
from undercroft.identity.routes.pages.sign_in import refused
from undercroft.identity.schemas.users import AddressOnly
from undercroft.shared.auth import public
from undercroft.shared.errors import UnprocessableError

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/forgot-password")
@public
async def show_forgot_password(request: Request) -> Response:
    """Ask for the address."""
    return render(request, "forgot_password")


@router.post("/forgot-password")
@public
async def forgot_password(
    request: Request, form: PostedForm, wiring: WiringDep, device: PageDeviceDep
) -> Response:
    """Mail a link to whoever has the address; every address leads to the same page."""
    try:
        address = read_model(AddressOnly, {"email": form.get("email", "")})
        await wiring.passwords.ask_for_reset(address.email, device=device)
    except (UnprocessableError, TooManyAttemptsError) as error:
        page = render(request, "forgot_password", status=error.status, errors=sentences(error), values=form)
        return refused(page, error)
    return see_other("/forgot-password/sent")


@router.get("/forgot-password/sent")
@public
async def show_sent(request: Request) -> Response:
    """Tell that a mail is on its way, if there is an account."""
    return render(request, "forgot_password_sent")


@router.get("/reset-password")
@public
async def show_reset_password(
    request: Request, wiring: WiringDep, token: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """Ask for the new password."""
    if not await wiring.passwords.is_reset_link(token):
        raise LinkInvalidError("The link is mistyped, used or expired. Ask for a new mail.")
    return render(request, "reset_password", token=token, min_length=wiring.settings.password_min_length)


@router.post("/reset-password")
@public
async def reset_password(request: Request, form: PostedForm, wiring: WiringDep) -> Response:
    """Set the new password; every device is signed out."""
    token = form.get("token", "")
    try:
        await wiring.passwords.reset(token, form.get("password", "")[:4_096])
    except UnprocessableError as error:
        min_length = wiring.settings.password_min_length
        return render(
            request,
            "reset_password",
            status=error.status,
            token=token,
            min_length=min_length,
            errors=sentences(error),
        )
    return see_other("/sign-in?notice=password-changed")
