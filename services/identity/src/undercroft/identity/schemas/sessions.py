"""Wire models of signing in and of sessions."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from undercroft.identity.schemas.organizations import OrganizationId
from undercroft.identity.schemas.users import Password, UserId
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

SessionId = Annotated[UUID, IdOf("ses")]
Code = Annotated[str, StringConstraints(max_length=64)]
PasskeyState = Annotated[str, StringConstraints(min_length=1, max_length=2_048)]


class PasskeyAnswer(RequestModel):
    """What an authenticator answered to the options of `POST /v1/sessions/passkey-options`."""

    state: PasskeyState
    # The library that checks it reads every member itself.
    credential: dict[str, Any]


class SessionCreate(RequestModel):
    """An address and its password, with a code when a second factor is set up; or a passkey."""

    # No address at all is as wrong as an unknown one, so its form is not looked at.
    email: Annotated[str, StringConstraints(max_length=1_000)] = Field(default_factory=str)
    password: Password = Field(default_factory=str, repr=False)
    totp: Code | None = Field(None, description="The code of the authenticator app.")
    recovery_code: Code | None = Field(None, description="A recovery code instead.")
    passkey: PasskeyAnswer | None = Field(None, description="Instead of address and password.")
    organization_id: OrganizationId | None = Field(
        None, description="The organization to act in at first; the first one joined, when absent."
    )

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        by_password = {"email", "password"} <= self.model_fields_set
        if by_password == (self.passkey is not None):
            raise ValueError("either email and password, or passkey")
        return self


class SessionCreated(WireModel):
    """A session and its first tokens. The session is also in the cookie of this answer."""

    id: SessionId
    user_id: UserId
    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str | None
    scope: str
    methods: list[str]
    expires_at: Timestamp = Field(description="When the session ends unless it is used.")


class SessionRead(WireModel):
    """A device on which you are signed in."""

    id: SessionId
    is_current: bool
    user_agent: str
    address: str
    methods: list[str]
    authenticated_at: Timestamp
    last_seen_at: Timestamp = Field(description="Accurate to some minutes.")
    expires_at: Timestamp
    created_at: Timestamp


class SessionPage(Page[SessionRead]):
    """Some devices and where the list goes on."""


class PasskeyOptions(WireModel):
    """Options for the browser, and the state to send back with its answer."""

    state: str
    public_key: dict[str, Any]
