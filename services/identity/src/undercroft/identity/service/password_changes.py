"""Changing a password: with the current one, or with a link that was mailed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.domain.link_secrets import hash_of, secret_hash
from undercroft.identity.domain.mails import MailKind
from undercroft.identity.domain.sign_in import Device, Person
from undercroft.identity.errors.accounts import LinkInvalidError, PasswordWrongError
from undercroft.identity.events.users import user_event, user_subject
from undercroft.identity.models.users import User
from undercroft.identity.repository.credentials import CredentialRepository, Credentials
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.registrations import EmailTokenRepository
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.service.attempts import Attempts
from undercroft.identity.service.mail_composition import RESET_PASSWORD
from undercroft.identity.service.new_passwords import NewPasswords
from undercroft.identity.service.password_hashing import PasswordHasher
from undercroft.identity.service.postbox import Postbox
from undercroft.identity.service.sessions import SessionService


@dataclass(frozen=True, slots=True)
class ConfirmationLimits:
    """How attempts are counted: at the current password of somebody signed in, at asking for mails."""

    confirmation: AttemptLimit
    address: AttemptLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordTools:
    """What changing passwords works with."""

    credentials: CredentialRepository
    users: UserRepository
    tokens: EmailTokenRepository
    events: EventRepository
    hasher: PasswordHasher
    passwords: NewPasswords
    postbox: Postbox
    attempts: Attempts


class PasswordService:
    """Use cases of passwords."""

    def __init__(
        self,
        tools: PasswordTools,
        sessions: SessionService,
        limits: ConfirmationLimits,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._tools = tools
        self._sessions = sessions
        self._limits = limits
        self._clock = clock

    async def confirm(self, person: Person, password: str) -> User:
        """Return the person, locked, when this is their password.

        Raises `PasswordWrongError`, `TooManyAttemptsError` and `HashingBusyError`.
        """
        subject = str(person.user_id)
        await self._tools.attempts.begin(self._limits.confirmation, subject)
        credentials = await self._tools.credentials.find_of(person.user_id)
        stored = None if credentials is None else credentials.password_hash
        verdict = await self._tools.hasher.verify(password, stored)
        if not verdict.is_right:
            raise PasswordWrongError("The current password is another one.")
        user = await self._tools.users.get_locked(person.user_id)
        if user.password_hash != stored:  # it was changed while this one was compared
            raise PasswordWrongError("The current password is another one.")
        await self._tools.attempts.forget(self._limits.confirmation, subject)
        return user

    async def change(self, person: Person, *, current: str, new: str, member: str = "newPassword") -> None:
        """Replace a password and sign out every other device; raises what `confirm` raises and `UnprocessableError`."""
        known = await self._tools.credentials.find_of(person.user_id)
        personal = () if known is None else (known.email, known.name)
        self._tools.passwords.judge(new, *personal, member=member)
        new_hash = await self._tools.passwords.hash(new)
        user = await self.confirm(person, current)
        await self._set(user, new_hash)
        here = await self._sessions.current(person)
        await self._sessions.end_all(user.id, actor=user_subject(user.id), besides=here)

    async def ask_for_reset(self, address: str, *, device: Device) -> None:
        """Mail a link to whoever has this address, if anybody; nothing tells which."""
        await self._tools.attempts.begin(self._limits.address, device.address)
        await self._tools.postbox.put(address, MailKind.PASSWORD_RESET)

    async def is_reset_link(self, token: str) -> bool:
        """Tell whether a link still works, without using it up."""
        return await self._find_by_link(token) is not None

    async def reset(self, token: str, password: str) -> None:
        """Set the password of whoever got the link, and sign them out everywhere, clients too.

        Raises `LinkInvalidError` and `UnprocessableError`; the link still works after a refused password.
        """
        known = await self._find_by_link(token)
        if known is None:
            raise _invalid_link()
        self._tools.passwords.judge(password, known.email, known.name)
        new_hash = await self._tools.passwords.hash(password)
        user = await self._tools.users.get_locked(known.user_id)
        if await self._tools.tokens.take(hash_of(token), purpose=RESET_PASSWORD, now=self._clock()) is None:
            raise _invalid_link()  # somebody was faster
        await self._tools.tokens.remove_all(user.id, purpose=RESET_PASSWORD)
        await self._set(user, new_hash)
        await self._sessions.end_everything(user.id, actor=user_subject(user.id))

    async def _find_by_link(self, token: str) -> Credentials | None:
        hashed = secret_hash(token)
        if hashed is None:
            return None
        return await self._tools.credentials.find_by_link(hashed, purpose=RESET_PASSWORD, now=self._clock())

    async def _set(self, user: User, new_hash: str) -> None:
        now = self._clock()
        user.password_hash = new_hash
        user.password_changed_at = user.updated_at = now
        user.revision += 1
        await self._tools.users.save()
        await self._tools.events.add(
            user_event("updated", user.id, actor=user_subject(user.id), changed=("password",))
        )
        await self._tools.postbox.tell(user, "The password of your account was changed.")


def _invalid_link() -> LinkInvalidError:
    return LinkInvalidError("The link is mistyped, used or expired. Ask for a new mail.")
