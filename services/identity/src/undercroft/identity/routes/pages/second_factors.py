"""`/account/totp`, `/account/recovery-codes` and `/account/passkeys`."""

import segno
from fastapi import APIRouter, Request, Response

from undercroft.identity.dependencies.accounts import PagePersonDep, WiringDep
from undercroft.identity.dependencies.passkeys import (
    PasskeyServiceDep,
    TotpServiceDep,
    passkey_service_of,
    totp_service_of,
)
from undercroft.identity.errors.accounts import (
    CodeWrongError,
    PasskeyKnownError,
    PasskeyRefusedError,
    PasswordWrongError,
    TooManyAttemptsError,
)
from undercroft.identity.routes.pages.account import Refusal, account_page
from undercroft.identity.routes.pages.form_errors import read_model
from undercroft.identity.routes.pages.page_route import Form, PageRoute, PostedForm
from undercroft.identity.routes.pages.rendering import render, see_other
from undercroft.identity.routes.pages.sign_in import credential_in, refused
from undercroft.identity.schemas.second_factors import PasskeyId, PasskeyUpdate
from undercroft.identity.service.totp import Proof, TotpBegun
from undercroft.shared.auth import public
from undercroft.shared.errors import ServiceError

router = APIRouter(prefix="/account", include_in_schema=False, route_class=PageRoute)


@router.post("/totp/begin")
@public
async def begin_totp(_: PostedForm, person: PagePersonDep, totp: TotpServiceDep) -> Response:
    """Make a secret and show it."""
    await totp.begin(person)
    return see_other("/account/totp")


@router.get("/totp")
@public
async def show_totp(request: Request, person: PagePersonDep, totp: TotpServiceDep) -> Response:
    """Show the secret that waits for its first code, as a QR code and as text."""
    begun = await totp.pending(person)
    return see_other("/account#second-factor") if begun is None else _totp_page(request, begun)


@router.post("/totp")
@public
async def confirm_totp(
    request: Request, form: PostedForm, person: PagePersonDep, wiring: WiringDep
) -> Response:
    """Enable codes and show the recovery codes, this once: reloading shows them no more."""
    totp = totp_service_of(wiring)
    try:
        codes = await totp.confirm(person, form.get("code", "")[:64])
    except (CodeWrongError, TooManyAttemptsError) as error:
        await wiring.session.rollback()
        begun = await totp.pending(person)
        if begun is None:
            return see_other("/account")
        return refused(_totp_page(request, begun, error), error)
    return render(request, "recovery_codes", codes=codes, is_first=True)


@router.post("/totp/disable")
@public
async def disable_totp(
    request: Request, form: PostedForm, person: PagePersonDep, wiring: WiringDep
) -> Response:
    """Disable codes, with the password."""
    try:
        await totp_service_of(wiring).disable(person, _proof(form))
    except (PasswordWrongError, TooManyAttemptsError) as error:
        return await account_page(request, person, wiring, refusal=_beside_password(error))
    return see_other("/account?notice=totp-disabled#second-factor")


@router.post("/recovery-codes")
@public
async def renew_recovery_codes(
    request: Request, form: PostedForm, person: PagePersonDep, wiring: WiringDep
) -> Response:
    """Replace the recovery codes and show them, this once."""
    try:
        codes = await totp_service_of(wiring).renew_recovery_codes(person, _proof(form))
    except (PasswordWrongError, TooManyAttemptsError) as error:
        return await account_page(request, person, wiring, refusal=_beside_password(error))
    return render(request, "recovery_codes", codes=codes, is_first=False)


@router.get("/passkeys/new")
@public
async def show_new_passkey(request: Request, person: PagePersonDep, passkeys: PasskeyServiceDep) -> Response:
    """Ask for a name and the browser for a passkey."""
    return render(request, "passkey_new", passkey=await passkeys.registration_options(person))


@router.post("/passkeys/new")
@public
async def add_passkey(
    request: Request, form: PostedForm, person: PagePersonDep, wiring: WiringDep
) -> Response:
    """Keep what the browser answered."""
    passkeys = passkey_service_of(wiring)
    name = read_model(PasskeyUpdate, {"name": form.get("name", "").strip() or "Passkey"}).name
    credential = credential_in(form.get("passkey_credential", ""))
    try:
        await passkeys.register(person, state=form.get("passkey_state", ""), credential=credential, name=name)
    except (PasskeyRefusedError, PasskeyKnownError) as error:
        await wiring.session.rollback()
        options = await passkeys.registration_options(person)
        page = render(
            request, "passkey_new", status=error.status, passkey=options, errors={"form": error.detail}
        )
        return refused(page, error)
    return see_other("/account?notice=passkey-added#passkeys")


@router.post("/passkeys/{passkey_id}/remove")
@public
async def remove_passkey(
    passkey_id: PasskeyId, _: PostedForm, person: PagePersonDep, passkeys: PasskeyServiceDep
) -> Response:
    """Delete a passkey."""
    await passkeys.remove(person, passkey_id)
    return see_other("/account?notice=passkey-removed#passkeys")


def _totp_page(request: Request, begun: TotpBegun, error: ServiceError | None = None) -> Response:
    return render(
        request,
        "totp",
        status=200 if error is None else error.status,
        secret=" ".join(begun.secret[at : at + 4] for at in range(0, len(begun.secret), 4)),
        uri=begun.uri,
        qr_code=segno.make(begun.uri, error="m").svg_data_uri(scale=4, border=2, dark="#111", light="#fff"),
        errors={} if error is None else {"code": error.detail},
    )


def _beside_password(error: ServiceError) -> Refusal:
    return Refusal(error, names={"form": "totp_password"})


def _proof(form: Form) -> Proof:
    return Proof(password=form.get("totp_password", "")[:4_096])
