"""`/v1/me/totp` and `/v1/me/passkeys`: what signing in needs besides, or instead of, a password."""

from fastapi import APIRouter, Response

from undercroft.identity.dependencies.accounts import PersonDep
from undercroft.identity.dependencies.passkeys import PasskeyServiceDep, TotpServiceDep
from undercroft.identity.schemas.second_factors import (
    PasskeyCreate,
    PasskeyId,
    PasskeyRead,
    Passkeys,
    PasskeyUpdate,
    ProofOfPerson,
    RecoveryCodes,
    TotpConfirm,
    TotpStarted,
)
from undercroft.identity.schemas.sessions import PasskeyOptions
from undercroft.identity.service.totp import Proof
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.ids import TypeId

totp = APIRouter(prefix="/v1/me/totp", tags=["me"], route_class=ServiceRoute)
passkeys = APIRouter(prefix="/v1/me/passkeys", tags=["me"], route_class=ServiceRoute)


@totp.post("", status_code=201)
async def begin_totp(person: PersonDep, service: TotpServiceDep, response: Response) -> TotpStarted:
    """Begin to set up one-time codes: the secret is in this answer and never again. Needs a recent sign-in."""
    begun = await service.begin(person)
    response.headers["Cache-Control"] = "no-store"
    return TotpStarted(secret=begun.secret, uri=begun.uri)


@totp.put("")
async def confirm_totp(
    body: TotpConfirm, person: PersonDep, service: TotpServiceDep, response: Response
) -> RecoveryCodes:
    """Confirm with a code; from now on signing in needs one. The recovery codes are shown this once."""
    response.headers["Cache-Control"] = "no-store"
    return RecoveryCodes(recovery_codes=await service.confirm(person, body.code))


@totp.post("/disable", status_code=204)
async def disable_totp(body: ProofOfPerson, person: PersonDep, service: TotpServiceDep) -> None:
    """Disable one-time codes, with your password or a code."""
    await service.disable(person, Proof(**body.model_dump(by_alias=False)))


@totp.post("/recovery-codes")
async def renew_recovery_codes(
    body: ProofOfPerson, person: PersonDep, service: TotpServiceDep, response: Response
) -> RecoveryCodes:
    """Replace the recovery codes, with your password or a code. The old ones stop working."""
    response.headers["Cache-Control"] = "no-store"
    codes = await service.renew_recovery_codes(person, Proof(**body.model_dump(by_alias=False)))
    return RecoveryCodes(recovery_codes=codes)


@passkeys.post("/options")
async def passkey_options(
    person: PersonDep, service: PasskeyServiceDep, response: Response
) -> PasskeyOptions:
    """Return the options for a new passkey; `state` goes back with the browser's answer. Needs a recent sign-in."""
    response.headers["Cache-Control"] = "no-store"
    return await service.registration_options(person)


@passkeys.post("", status_code=201)
async def register_passkey(
    body: PasskeyCreate, person: PersonDep, service: PasskeyServiceDep, response: Response
) -> PasskeyRead:
    """Keep a new passkey."""
    passkey = await service.register(person, state=body.state, credential=body.credential, name=body.name)
    response.headers["Location"] = f"{passkeys.prefix}/{TypeId('pky', passkey.id)}"
    return PasskeyRead.model_validate(passkey)


@passkeys.get("")
async def list_passkeys(person: PersonDep, service: PasskeyServiceDep) -> Passkeys:
    """List your passkeys, oldest first."""
    return Passkeys(items=[PasskeyRead.model_validate(each) for each in await service.list(person)])


@passkeys.patch("/{passkey_id}")
async def rename_passkey(
    passkey_id: PasskeyId, body: PasskeyUpdate, person: PersonDep, service: PasskeyServiceDep
) -> PasskeyRead:
    """Rename a passkey."""
    return PasskeyRead.model_validate(await service.rename(person, passkey_id, body.name))


@passkeys.delete("/{passkey_id}", status_code=204)
async def remove_passkey(passkey_id: PasskeyId, person: PersonDep, service: PasskeyServiceDep) -> None:
    """Delete a passkey; it signs nobody in any more."""
    await service.remove(person, passkey_id)
