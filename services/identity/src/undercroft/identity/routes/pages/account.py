"""`/account`: one's own profile, password, devices and memberships."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from undercroft.identity.dependencies.accounts import PagePersonDep, Wiring, WiringDep
from undercroft.identity.dependencies.devices import forget_sign_in
from undercroft.identity.dependencies.oauth.server import OAuthWiring
from undercroft.identity.dependencies.passkeys import passkey_service_of
from undercroft.identity.domain.sign_in import Person
from undercroft.identity.domain.user_agents import describe_user_agent
from undercroft.identity.errors.accounts import (
    PasswordWrongError,
    SoleOwnerError,
    TooManyAttemptsError,
)
from undercroft.identity.events.users import user_subject
from undercroft.identity.routes.pages.form_errors import read_model, sentences
from undercroft.identity.routes.pages.page_route import Form, PageRoute, PostedForm
from undercroft.identity.routes.pages.rendering import render, see_other
from undercroft.identity.routes.pages.sign_in import may_use_passkeys, refused
from undercroft.identity.schemas.oauth_clients import OAuthClientId
from undercroft.identity.schemas.sessions import SessionId
from undercroft.identity.schemas.users import EmailChange, MeUpdate
from undercroft.shared.auth import public
from undercroft.shared.errors import ServiceError, UnprocessableError

router = APIRouter(prefix="/account", include_in_schema=False, route_class=PageRoute)

_NOTICES: Final = {
    "saved": "Your profile is saved.",
    "email-sent": "A mail is on its way to the new address. It counts once you follow its link.",
    "email-changed": "Your address is changed.",
    "password": "Your password is changed. Every other device is signed out.",
    "signed-out": "That device is signed out.",
    "totp-disabled": "One-time codes are no longer needed.",
    "passkey-added": "The passkey is added.",
    "passkey-removed": "The passkey is removed.",
    "joined": "Welcome! You are a member now.",
    "disconnected": "That application has no access any more.",
}


@router.get("")
@public
async def show_account(
    request: Request,
    person: PagePersonDep,
    wiring: WiringDep,
    notice: Annotated[str, Query(max_length=50)] = "",
) -> Response:
    """Show the account."""
    return await account_page(request, person, wiring, notice=_NOTICES.get(notice))


@router.post("/profile")
@public
async def save_profile(
    request: Request, form: PostedForm, person: PagePersonDep, wiring: WiringDep
) -> Response:
    """Change the name, the language or the time zone."""
    values = {name: form.get(name, "").strip() or None for name in ("name", "locale", "zoneinfo")}
    try:
        change = read_model(MeUpdate, {**values, "name": values["name"] or ""})
    except UnprocessableError as error:
        return await account_page(request, person, wiring, refusal=Refusal(error, form))
    await wiring.accounts.update(person, change)
    return see_other("/account?notice=saved#profile")


@router.post("/email")
@public
async def change_email(
    request: Request, form: PostedForm, person: PagePersonDep, wiring: WiringDep
) -> Response:
    """Ask for a mail to a new address."""
    given = {"email": form.get("new_email", ""), "password": form.get("email_password", "")}
    try:
        change = read_model(EmailChange, given)
        await wiring.accounts.ask_for_address(person, email=change.email, password=change.password)
    except (UnprocessableError, PasswordWrongError, TooManyAttemptsError) as error:
        names = {"email": "new_email", "password": "email_password", "form": "email_password"}
        return await account_page(request, person, wiring, refusal=Refusal(error, form, names))
    return see_other("/account?notice=email-sent#profile")


@router.post("/password")
@public
async def change_password(
    request: Request, form: PostedForm, person: PagePersonDep, wiring: WiringDep
) -> Response:
    """Change the password and sign out every other device."""
    current, new = form.get("current_password", "")[:4_096], form.get("new_password", "")[:4_096]
    try:
        await wiring.passwords.change(person, current=current, new=new, member="new_password")
    except (UnprocessableError, PasswordWrongError, TooManyAttemptsError) as error:
        names = {"form": "current_password"}
        return await account_page(request, person, wiring, refusal=Refusal(error, form, names))
    return see_other("/account?notice=password#password")


@router.post("/sessions/{session_id}/end")
@public
async def end_session(
    session_id: SessionId, _: PostedForm, person: PagePersonDep, wiring: WiringDep
) -> Response:
    """Sign one device out."""
    await wiring.sessions.end(session_id, user_id=person.user_id)
    return see_other("/account?notice=signed-out#devices")


@router.post("/sessions/end-others")
@public
async def end_other_sessions(_: PostedForm, person: PagePersonDep, wiring: WiringDep) -> Response:
    """Sign every other device out."""
    here = await wiring.sessions.current(person)
    await wiring.sessions.end_all(person.user_id, actor=user_subject(person.user_id), besides=here)
    return see_other("/account?notice=signed-out#devices")


@router.post("/apps/{client_id}/disconnect")
@public
async def disconnect_app(
    request: Request, client_id: OAuthClientId, _: PostedForm, person: PagePersonDep, wiring: WiringDep
) -> Response:
    """Take back what an application was allowed."""
    apps = OAuthWiring(request.app, wiring.session).connected_apps
    await apps.disconnect(client_id, user_id=person.user_id)
    return see_other("/account?notice=disconnected")


@router.get("/delete")
@public
async def show_delete(request: Request, person: PagePersonDep, wiring: WiringDep) -> Response:
    """Ask before deleting the account; only whoever has signed in just now."""
    await wiring.sessions.require_recent(person)
    return render(request, "account_delete", user=await wiring.accounts.get(person.user_id))


@router.post("/delete")
@public
async def delete_account(
    request: Request, form: PostedForm, person: PagePersonDep, wiring: WiringDep
) -> Response:
    """Delete the account."""
    user = await wiring.accounts.get(person.user_id)
    if form.get("email", "").strip().lower() != user.email_key:
        errors = {"email": "This is not the address of your account."}
        return render(request, "account_delete", status=422, user=user, errors=errors)
    try:
        await wiring.accounts.delete(person)
    except SoleOwnerError as error:
        page = render(
            request, "account_delete", status=error.status, user=user, errors={"form": error.detail}
        )
        return refused(page, error)
    response = see_other("/sign-in?notice=deleted")
    forget_sign_in(request, response)
    return response


@dataclass(frozen=True, slots=True)
class Refusal:
    """A form of the account page that was refused; `names` says beside which field a problem is shown."""

    error: ServiceError
    form: Form = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def problems(self) -> dict[str, str]:
        """Return the sentence beside each field of the page."""
        return {self.names.get(name, name): text for name, text in sentences(self.error).items()}


async def account_page(
    request: Request,
    person: Person,
    wiring: Wiring,
    *,
    notice: str | None = None,
    refusal: Refusal | None = None,
) -> Response:
    """Render the account."""
    if refusal is not None:
        await wiring.session.rollback()
    user = await wiring.accounts.get(person.user_id)
    page = render(
        request,
        "account",
        status=200 if refusal is None else refusal.error.status,
        notice=notice,
        errors={} if refusal is None else refusal.problems(),
        user=user,
        values={
            "name": user.name,
            "locale": user.locale or "",
            "zoneinfo": user.zoneinfo or "",
            **({} if refusal is None else _shown(refusal.form)),
        },
        devices=[
            {
                "id": session.id,
                "what": describe_user_agent(session.user_agent),
                "address": session.address,
                "last_seen_at": session.last_seen_at,
                "is_here": person.signed_in is not None and session.id == person.signed_in.session_id,
            }
            for session in await wiring.sessions.newest(person.user_id)
        ],
        passkeys=await passkey_service_of(wiring).list(person),
        may_use_passkeys=may_use_passkeys(wiring.settings),
        memberships=await wiring.accounts.memberships(person.user_id),
        apps=await OAuthWiring(request.app, wiring.session).connected_apps.newest(person.user_id),
        min_length=wiring.settings.password_min_length,
    )
    return page if refusal is None else refused(page, refusal.error)


def _shown(form: Form) -> Form:
    return {name: value for name, value in form.items() if "password" not in name}
