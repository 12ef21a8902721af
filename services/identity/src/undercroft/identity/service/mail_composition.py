"""What a mail says, decided when it is sent: only now is it looked up whether an address is known.

Requests that ask for a mail by an address do the same work for every address, so neither their answer nor its time
tells which ones have an account.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from undercroft.identity.domain.emails import email_key
from undercroft.identity.domain.link_secrets import hash_of, new_secret
from undercroft.identity.domain.mails import MailKind, MailRequest, MailText, MailTexts, human_duration
from undercroft.identity.models.users import EmailToken, User
from undercroft.identity.repository.registrations import EmailTokenRepository, RegistrationRepository
from undercroft.identity.repository.users import UserRepository

RESET_PASSWORD = "reset_password"  # noqa: S105 - a purpose
CHANGE_EMAIL = "change_email"


@dataclass(frozen=True, slots=True)
class LinkLives:
    """How long links in mails work."""

    registration: timedelta
    password_reset: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRepositories:
    """Where composition reads and writes."""

    users: UserRepository
    registrations: RegistrationRepository
    tokens: EmailTokenRepository


class MailComposer:
    """Turns what was asked for into what is sent."""

    def __init__(
        self,
        repositories: MailRepositories,
        texts: MailTexts,
        lives: LinkLives,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._users = repositories.users
        self._registrations = repositories.registrations
        self._tokens = repositories.tokens
        self._texts = texts
        self._lives = lives
        self._clock = clock

    async def compose(self, recipient: str, request: MailRequest) -> MailText | None:
        """Return the mail to send, None when there is nothing to say. An attempt that failed composes anew."""
        match request.kind:
            case MailKind.REGISTRATION:
                return await self._registration(recipient, request)
            case MailKind.REGISTRATION_AGAIN:
                return await self._registration_again(recipient)
            case MailKind.PASSWORD_RESET:
                return await self._password_reset(recipient)
            case MailKind.EMAIL_CHANGE:
                return await self._email_change(recipient, UUID(request.values["user_id"]))
            case MailKind.INVITATION:
                return self._texts.invitation(request.values)
            case MailKind.SECURITY_NOTICE:
                return self._texts.security_notice(request.values)

    async def _registration(self, recipient: str, request: MailRequest) -> MailText:
        user = await self._users.find_by_email(email_key(recipient))
        if user is not None:
            return self._texts.already_registered(user.name)
        life = human_duration(self._lives.registration.total_seconds())
        onward = request.values.get("onward", "")
        return self._texts.verify_address(
            request.values["name"], request.values["token"], life=life, onward=onward
        )

    async def _registration_again(self, recipient: str) -> MailText | None:
        key, now = email_key(recipient), self._clock()
        user = await self._users.find_by_email(key)
        if user is not None:
            return self._texts.already_registered(user.name)
        registration = await self._registrations.newest(key, now=now)
        if registration is None:
            return None
        token = new_secret()
        registration.token_hash = hash_of(token)
        registration.expires_at = now + self._lives.registration
        await self._registrations.save()
        life = human_duration(self._lives.registration.total_seconds())
        return self._texts.verify_address(registration.name, token, life=life)

    async def _password_reset(self, recipient: str) -> MailText | None:
        user = await self._users.find_by_email(email_key(recipient))
        if user is None:  # whoever has not confirmed yet is reminded of that
            return await self._registration_again(recipient)
        if user.disabled_at is not None:
            return None
        token = await self._add_token(user, RESET_PASSWORD, user.email, self._lives.password_reset)
        life = human_duration(self._lives.password_reset.total_seconds())
        return self._texts.reset_password(user.name, token, life=life)

    async def _email_change(self, recipient: str, user_id: UUID) -> MailText:
        if await self._users.find_by_email(email_key(recipient)) is not None:
            return self._texts.address_in_use()
        user = await self._users.get(user_id)
        token = await self._add_token(user, CHANGE_EMAIL, recipient, self._lives.registration)
        life = human_duration(self._lives.registration.total_seconds())
        return self._texts.change_address(user.name, token, life=life)

    async def _add_token(self, user: User, purpose: str, email: str, life: timedelta) -> str:
        token = new_secret()
        await self._tokens.add(
            EmailToken(
                token_hash=hash_of(token),
                user_id=user.id,
                purpose=purpose,
                email=email,
                expires_at=self._clock() + life,
            )
        )
        return token
