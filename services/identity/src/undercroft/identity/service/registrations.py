"""Registering: a row that waits until its mail is read. Whether an address is known is not looked at before.

So body, status and time of the answer are the same for every address: what differs is only what the mail says, and
that is decided when it is sent (`mail_composition`). An invitation is the exception: its link was mailed to the
address, so it proves what a confirmation would.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.domain.emails import email_key
from undercroft.identity.domain.link_secrets import hash_of, new_secret, secret_hash
from undercroft.identity.domain.mails import MailKind
from undercroft.identity.domain.sign_in import Device
from undercroft.identity.errors.accounts import EmailTakenError, LinkInvalidError, SignUpClosedError
from undercroft.identity.events.users import user_event, user_subject
from undercroft.identity.models.users import Registration, User
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.registrations import RegistrationRepository
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.schemas.users import UserCreate
from undercroft.identity.service.attempts import Attempts
from undercroft.identity.service.founding import OrganizationFounder
from undercroft.identity.service.new_passwords import NewPasswords
from undercroft.identity.service.postbox import Postbox
from undercroft.shared.ids import new_uuid7


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationPolicy:
    """What settings say about registering."""

    is_open: bool
    may_found: bool
    life: timedelta
    limit: AttemptLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationTools:
    """What registering works with."""

    registrations: RegistrationRepository
    users: UserRepository
    events: EventRepository
    passwords: NewPasswords
    postbox: Postbox
    attempts: Attempts
    founder: OrganizationFounder


class RegistrationService:
    """Use cases of registering."""

    def __init__(
        self, tools: RegistrationTools, policy: RegistrationPolicy, *, clock: Callable[[], datetime]
    ) -> None:
        self._tools = tools
        self._policy = policy
        self._clock = clock

    async def register(self, new: UserCreate, *, device: Device, onward: str = "") -> UUID:
        """Let somebody register; returns the id that the user will have. `onward` is a path for after the mail.

        Raises `SignUpClosedError`, `UnprocessableError`, `TooManyAttemptsError` and `HashingBusyError`, none of which
        depends on whether the address is known.
        """
        if not self._policy.is_open:
            raise SignUpClosedError("Nobody registers here without an invitation.")
        self._tools.passwords.judge(new.password, new.email, new.name)
        await self._tools.attempts.begin(self._policy.limit, device.address)
        password_hash = await self._tools.passwords.hash(new.password)
        token = new_secret()
        wants_organization = new.organization is not None and self._policy.may_found
        registration = Registration(
            id=new_uuid7(),
            email=new.email,
            email_key=email_key(new.email),
            name=new.name,
            password_hash=password_hash,
            organization_name=new.organization.name if new.organization and wants_organization else None,
            token_hash=hash_of(token),
            expires_at=self._clock() + self._policy.life,
        )
        await self._tools.registrations.add(registration)
        await self._tools.postbox.put(
            new.email, MailKind.REGISTRATION, name=new.name, token=token, onward=onward
        )
        return registration.id

    async def send_again(self, address: str, *, device: Device) -> None:
        """Send the mail of the last registration of an address again, if there is one."""
        await self._tools.attempts.begin(self._policy.limit, device.address)
        await self._tools.postbox.put(address, MailKind.REGISTRATION_AGAIN)

    async def confirm(self, token: str) -> User | None:
        """Make the account of a registration whose mail was read; None when the link is no registration's.

        Raises `EmailTakenError` when the address got an account in another way meanwhile.
        """
        hashed = secret_hash(token)
        registration = (
            None if hashed is None else await self._tools.registrations.take(hashed, now=self._clock())
        )
        if registration is None:
            return None
        user = await self.add_user(
            User(
                id=registration.id,
                email=registration.email,
                email_key=registration.email_key,
                email_verified_at=self._clock(),
                name=registration.name,
                password_hash=registration.password_hash,
                password_changed_at=registration.created_at,
            )
        )
        if registration.organization_name is not None:
            await self._tools.founder.found(registration.organization_name, owner=user.id)
        return user

    async def add_user(self, user: User) -> User:
        """Insert a user, and forget what else was registered with the address; raises `EmailTakenError`."""
        if await self._tools.users.find_by_email(user.email_key) is not None:
            raise EmailTakenError("This address has an account; sign in with it.")
        await self._tools.users.add(user)
        await self._tools.registrations.remove_all(user.email_key)
        await self._tools.events.add(user_event("created", user.id, actor=user_subject(user.id)))
        return user

    async def new_user(self, *, email: str, name: str, password: str) -> User:
        """Return a user, not yet inserted, whose address is proved already; raises `UnprocessableError`."""
        self._tools.passwords.judge(password, email, name)
        now = self._clock()
        return User(
            id=new_uuid7(),
            email=email,
            email_key=email_key(email),
            email_verified_at=now,
            name=name,
            password_hash=await self._tools.passwords.hash(password),
            password_changed_at=now,
        )

    def require_link(self, user: User | None) -> User:
        """Return the user of a link; raises `LinkInvalidError` when there is none."""
        if user is None:
            raise LinkInvalidError("The link is mistyped, used or expired. Ask for a new mail.")
        return user
