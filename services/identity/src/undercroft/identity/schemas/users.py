"""Wire models of people."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from undercroft.identity.domain.emails import normalise_address
from undercroft.identity.schemas.organizations import Name, OrganizationId
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

UserId = Annotated[UUID, IdOf("usr")]


def _address(value: str) -> str:
    try:
        return normalise_address(value)
    except ValueError:
        raise PydanticCustomError("email", "Input should be an e-mail address") from None


Email = Annotated[str, StringConstraints(max_length=1_000), AfterValidator(_address)]
# Bounds for what is read at all; whether a new one is good is decided with its reasons.
Password = Annotated[str, StringConstraints(max_length=4_096)]
LinkToken = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]
Locale = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}$", max_length=85)]
Zone = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+){0,3}$", max_length=64)
]


class FirstOrganization(RequestModel):
    """The organization that somebody founds by registering."""

    name: Name


class UserCreate(RequestModel):
    """A registration."""

    email: Email
    password: Password = Field(repr=False)
    name: Name
    organization: FirstOrganization | None = Field(
        None, description="Founds an organization with you as its owner, once the address is confirmed."
    )
    invitation: LinkToken | None = Field(
        None, description="The token of an invitation to this address; the account is made at once."
    )


class UserRegistered(WireModel):
    """The answer to every registration, whether or not the address has an account already."""

    id: UserId
    email: str
    name: str
    email_verified: bool = Field(description="False: a mail is on its way; follow its link.")


class UserRead(WireModel):
    """A person."""

    id: UserId
    email: str
    email_verified: bool
    name: str
    locale: str | None
    zoneinfo: str | None
    has_password: bool
    has_totp: bool
    is_disabled: bool
    created_at: Timestamp
    updated_at: Timestamp


class UserPage(Page[UserRead]):
    """Some people and where the list goes on."""


class UserUpdate(RequestModel):
    """What the operator changes about somebody; members that are absent stay as they are."""

    name: Name = Field(default_factory=str)
    is_disabled: bool = Field(
        default_factory=bool, description="Ends sessions and grants at once, and keeps from signing in."
    )


class MeRead(UserRead):
    """Your own account."""

    recovery_codes_left: int


class MeUpdate(RequestModel):
    """What changes about your account; members that are absent stay as they are."""

    name: Name = Field(default_factory=str)
    locale: Locale | None = None
    zoneinfo: Zone | None = None


class PasswordChange(RequestModel):
    """A new password, and the proof that you know the current one."""

    current_password: Password = Field(repr=False)
    new_password: Password = Field(repr=False)


class EmailChange(RequestModel):
    """A new address. It counts once the link in the mail to it was followed."""

    email: Email
    password: Password = Field(repr=False)


class AddressOnly(RequestModel):
    """An address to which a mail is sent, if there is a reason to."""

    email: Email


class PasswordReset(RequestModel):
    """A new password."""

    password: Password = Field(repr=False)


class MembershipOfMine(WireModel):
    """An organization that you belong to."""

    organization_id: OrganizationId
    organization_name: str
    role: str
    since: Timestamp


class MembershipsOfMine(WireModel):
    """The organizations that you belong to."""

    items: list[MembershipOfMine]
