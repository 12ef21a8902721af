"""`/sign-in`, `/sign-in/second-factor` and `/sign-out`."""

import base64
import binascii
import ipaddress
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from undercroft.identity.dependencies.accounts import PageDeviceDep, SignedInDep, Wiring, WiringDep
from undercroft.identity.dependencies.devices import forget_sign_in, remember_sign_in
from undercroft.identity.dependencies.passkeys import PasskeyServiceDep
from undercroft.identity.domain.continuations import continuation
from undercroft.identity.domain.cookies import cookie_name
from undercroft.identity.domain.sealing import SealBrokenError
from undercroft.identity.errors.accounts import (
    InvalidCredentialsError,
    PasskeyRefusedError,
    SecondFactorRequiredError,
    TooManyAttemptsError,
    UserDisabledError,
)
from undercroft.identity.errors.pages import FormMalformedError, SignInNeededError
from undercroft.identity.events.users import user_subject
from undercroft.identity.routes.pages.page_route import PageRoute, PostedForm
from undercroft.identity.routes.pages.rendering import render, see_other
from undercroft.identity.schemas.sessions import SessionCreate
from undercroft.identity.service.passkeys import PasskeyService
from undercroft.identity.service.sign_in import SecondFactorCode, SignedInUser
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.auth import public
from undercroft.shared.errors import ServiceError
from undercroft.shared.serialization import JsonValue, dumps, loads

router = APIRouter(include_in_schema=False, route_class=PageRoute)

HOME: Final = "/account"
NOTICES: Final = {
    "signed-out": "You are signed out.",
    "confirmed": "Your address is confirmed. Sign in now.",
    "password-changed": "Your password is changed. Sign in with the new one.",
    "deleted": "Your account is deleted.",
}

_PENDING_COOKIE: Final = "undercroft_pending"
_PENDING_LIFE: Final = timedelta(minutes=10)
_PENDING_PLACE: Final = b"second-factor"
_LONGEST_COOKIE: Final = 1_024

Onward = Annotated[str | None, Query(alias="continue", max_length=8_192)]


@router.get("/sign-in")
@public
async def show_sign_in(
    request: Request,
    signed_in: SignedInDep,
    passkeys: PasskeyServiceDep,
    onward: Onward = None,
    notice: Annotated[str, Query(max_length=50)] = "",
) -> Response:
    """Ask for address and password, or lead on whoever is signed in already."""
    goal = continuation(onward, otherwise=HOME)
    is_again = "again" in request.query_params
    if signed_in is not None and not is_again:
        return see_other(goal)
    text = "Sign in again to go on." if is_again else NOTICES.get(notice)
    values = {"email": request.query_params.get("email", "")[:254]}
    return _sign_in_page(request, passkeys, goal, notice=text, values=values)


@router.post("/sign-in")
@public
async def sign_in(
    request: Request, form: PostedForm, wiring: WiringDep, passkeys: PasskeyServiceDep, device: PageDeviceDep
) -> Response:
    """Sign in, or lead on to the second factor."""
    goal = continuation(form.get("continue"), otherwise=HOME)
    try:
        if form.get("passkey_credential"):
            credential = credential_in(form["passkey_credential"])
            done = await passkeys.sign_in(
                state=form.get("passkey_state", ""), credential=credential, device=device
            )
        else:
            given = SessionCreate(
                email=form.get("email", "")[:1_000], password=form.get("password", "")[:4_096]
            )
            user = await wiring.sign_in.check_password(given, device=device)
            try:
                done = await wiring.sign_in.finish(user, SecondFactorCode(), device=device)
            except SecondFactorRequiredError:
                return _to_second_factor(request, wiring, user.id, goal)
    except (InvalidCredentialsError, PasskeyRefusedError, UserDisabledError, TooManyAttemptsError) as error:
        # What was written (a used counter of a passkey) is not kept: the page is shown instead of an error.
        await wiring.session.rollback()
        return refused(_sign_in_page(request, passkeys, goal, values=form, error=error), error)
    return enter(request, done, goal)


@router.get("/sign-in/second-factor")
@public
async def show_second_factor(request: Request, onward: Onward = None) -> Response:
    """Ask for a code."""
    goal = continuation(onward, otherwise=HOME)
    _pending_user(request, goal)
    return render(request, "second_factor", onward=goal)


@router.post("/sign-in/second-factor")
@public
async def check_second_factor(
    request: Request, form: PostedForm, wiring: WiringDep, device: PageDeviceDep
) -> Response:
    """Finish signing in with a code of the app or a recovery code."""
    goal = continuation(form.get("continue"), otherwise=HOME)
    user_id = _pending_user(request, goal)
    try:
        done = await wiring.sign_in.check_code(user_id, second_factor(form.get("code", "")), device=device)
    except (InvalidCredentialsError, SecondFactorRequiredError, TooManyAttemptsError) as error:
        await wiring.session.rollback()
        page = render(
            request, "second_factor", status=error.status, onward=goal, errors={"code": error.detail}
        )
        return refused(page, error)
    response = enter(request, done, goal)
    response.delete_cookie(_pending_cookie(wiring.settings), path="/")
    return response


@router.get("/sign-out")
@public
async def show_sign_out(request: Request, signed_in: SignedInDep) -> Response:
    """Ask before signing out: a link on another site must not do it."""
    if signed_in is None:
        return see_other("/sign-in")
    return render(request, "sign_out")


@router.post("/sign-out")
@public
async def sign_out(request: Request, _: PostedForm, wiring: WiringDep, signed_in: SignedInDep) -> Response:
    """Sign this device out."""
    response = see_other("/sign-in?notice=signed-out")
    if signed_in is not None:
        actor = user_subject(signed_in.user_id)
        await wiring.sessions.end_all(signed_in.user_id, actor=actor, only=signed_in.session_id)
    forget_sign_in(request, response)
    return response


def second_factor(code: str) -> SecondFactorCode:
    """Tell a code of the app from a recovery code by its form; people type both into one field."""
    text = code.strip()[:64]
    if text.replace(" ", "").isdigit():
        return SecondFactorCode(totp=text)
    return SecondFactorCode(recovery_code=text)


def enter(request: Request, done: SignedInUser, goal: str) -> Response:
    """Lead on somebody who has signed in just now."""
    response = see_other(goal)
    remember_sign_in(request, response, done)
    return response


def _sign_in_page(
    request: Request,
    passkeys: PasskeyService,
    goal: str,
    *,
    values: Mapping[str, str],
    notice: str | None = None,
    error: ServiceError | None = None,
) -> Response:
    settings: IdentitySettings = request.app.state.settings
    return render(
        request,
        "sign_in",
        status=200 if error is None else error.status,
        onward=goal,
        further=urlencode({"continue": goal}),
        notice=notice,
        values={"email": values.get("email", "")},
        errors={} if error is None else {"form": error.detail},
        passkey=passkeys.sign_in_options() if may_use_passkeys(settings) else None,
        is_sign_up_open=settings.sign_up == "open",
    )


def may_use_passkeys(settings: IdentitySettings) -> bool:
    """Tell whether browsers take passkeys for the issuer's host: they do for names, not for IP addresses."""
    try:
        ipaddress.ip_address(urlsplit(settings.issuer).hostname or "")
    except ValueError:
        return True
    return False


def refused(page: Response, error: ServiceError) -> Response:
    """Return a page that shows an error, with the headers of the error."""
    if "Retry-After" in error.headers:
        page.headers["Retry-After"] = error.headers["Retry-After"]
    return page


def credential_in(text: str) -> Mapping[str, JsonValue]:
    """Return what an authenticator answered, as the script put it into a field; raises `FormMalformedError`."""
    try:
        credential = json.loads(text)
    except ValueError:
        credential = None
    if not isinstance(credential, dict):
        raise FormMalformedError("The form cannot be read.")
    return credential


def _pending_cookie(settings: IdentitySettings) -> str:
    return cookie_name(_PENDING_COOKIE, is_https=settings.is_https)


def _to_second_factor(request: Request, wiring: Wiring, user_id: UUID, goal: str) -> Response:
    settings = wiring.settings
    content = dumps({"user": user_id.hex, "until": (wiring.clock() + _PENDING_LIFE).timestamp()})
    sealed = request.app.state.page_sealer.seal(content, place=_PENDING_PLACE)
    response = see_other(f"/sign-in/second-factor?{urlencode({'continue': goal})}")
    response.set_cookie(
        _pending_cookie(settings),
        base64.urlsafe_b64encode(sealed).rstrip(b"=").decode(),
        max_age=int(_PENDING_LIFE.total_seconds()),
        path="/",
        secure=settings.is_https,
        httponly=True,
        samesite="lax",
    )
    return response


def _pending_user(request: Request, goal: str) -> UUID:
    """Return who has proved the password in this browser a moment ago."""
    state = request.app.state
    cookie = request.cookies.get(_pending_cookie(state.settings), "")[:_LONGEST_COOKIE]
    try:
        sealed = base64.urlsafe_b64decode(cookie.encode("ascii") + b"=" * (-len(cookie) % 4))
        members = loads(state.page_sealer.open(sealed, place=_PENDING_PLACE))
    except (SealBrokenError, binascii.Error, ValueError):
        raise SignInNeededError(goal) from None
    assert isinstance(members, dict)  # noqa: S101  sealed by us
    if float(str(members["until"])) <= state.clock().timestamp():
        raise SignInNeededError(goal)
    return UUID(hex=str(members["user"]))
