"""What is done by mail: `/v1/password-resets` and `/v1/email-verifications`. Asking tells nothing about an address."""

from fastapi import APIRouter, Response

from undercroft.identity.dependencies.accounts import WiringDep
from undercroft.identity.dependencies.devices import DeviceDep
from undercroft.identity.schemas.users import AddressOnly, LinkToken, PasswordReset, UserRead
from undercroft.shared.auth import public
from undercroft.shared.idempotency import ServiceRoute

password_resets = APIRouter(prefix="/v1/password-resets", tags=["password resets"], route_class=ServiceRoute)
email_verifications = APIRouter(
    prefix="/v1/email-verifications", tags=["e-mail verifications"], route_class=ServiceRoute
)


@password_resets.post("", status_code=202)
@public
async def ask_for_password_reset(body: AddressOnly, wiring: WiringDep, device: DeviceDep) -> Response:
    """Ask for a mail with a link; whether there is an account is never told."""
    await wiring.passwords.ask_for_reset(body.email, device=device)
    return Response(status_code=202)


@password_resets.put("/{token}", status_code=204)
@public
async def reset_password(token: LinkToken, body: PasswordReset, wiring: WiringDep) -> None:
    """Choose a new password with the link's token. Every device is signed out."""
    await wiring.passwords.reset(token, body.password)


@email_verifications.post("", status_code=202)
@public
async def send_verification_again(body: AddressOnly, wiring: WiringDep, device: DeviceDep) -> Response:
    """Ask for the mail of a registration again; whether there is one is never told."""
    await wiring.registrations.send_again(body.email, device=device)
    return Response(status_code=202)


@email_verifications.put("/{token}")
@public
async def verify_email(token: LinkToken, wiring: WiringDep) -> UserRead:
    """Confirm an address with the link's token: of a registration, which makes the account, or of a change."""
    user = await wiring.registrations.confirm(token) or await wiring.accounts.confirm_address(token)
    return UserRead.model_validate(wiring.registrations.require_link(user))
