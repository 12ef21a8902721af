"""Wire models of one-time codes and passkeys."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from undercroft.identity.schemas.organizations import Name
from undercroft.identity.schemas.sessions import Code, PasskeyState
from undercroft.identity.schemas.users import Password
from undercroft.shared.ids import IdOf
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

PasskeyId = Annotated[UUID, IdOf("pky")]


class TotpStarted(WireModel):
    """A secret for the authenticator app, shown this once. It counts when it was confirmed with a code."""

    secret: str
    uri: str


class TotpConfirm(RequestModel):
    """A code of the authenticator app."""

    code: Code


class RecoveryCodes(WireModel):
    """Codes for when the authenticator is lost, each good for one sign-in. They are shown this once."""

    recovery_codes: list[str]


class ProofOfPerson(RequestModel):
    """Your password, or a code; one of them."""

    password: Password | None = Field(None, repr=False)
    totp: Code | None = None
    recovery_code: Code | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(each is not None for each in (self.password, self.totp, self.recovery_code)) != 1:
            raise ValueError("one of password, totp and recoveryCode")
        return self


class PasskeyCreate(RequestModel):
    """What an authenticator answered to `POST /v1/me/passkeys/options`."""

    name: Name
    state: PasskeyState
    # The library that checks it reads every member itself.
    credential: dict[str, Any]


class PasskeyUpdate(RequestModel):
    """A passkey's new name."""

    name: Name


class PasskeyRead(WireModel):
    """A passkey."""

    id: PasskeyId
    name: str
    transports: list[str]
    last_used_at: Timestamp | None
    created_at: Timestamp


class Passkeys(WireModel):
    """Your passkeys."""

    items: list[PasskeyRead]
