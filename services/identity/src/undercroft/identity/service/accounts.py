"""A person's own account: profile, address, memberships, and its end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from undercroft.identity.domain.emails import email_key
from undercroft.identity.domain.link_secrets import secret_hash
from undercroft.identity.domain.mails import MailKind
from undercroft.identity.domain.sign_in import Person
from undercroft.identity.events.users import user_event, user_subject
from undercroft.identity.models.users import User
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.memberships import Belonging, MembershipRepository
from undercroft.identity.repository.registrations import EmailTokenRepository
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.schemas.users import MeUpdate
from undercroft.identity.service.departures import Departures
from undercroft.identity.service.mail_composition import CHANGE_EMAIL
from undercroft.identity.service.password_changes import PasswordService
from undercroft.identity.service.postbox import Postbox
from undercroft.identity.service.sessions import SessionService
from undercroft.shared.preconditions import check_if_match, etag_for

_MOST_MEMBERSHIPS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTools:
    """What accounts work with."""

    users: UserRepository
    memberships: MembershipRepository
    tokens: EmailTokenRepository
    events: EventRepository
    postbox: Postbox
    departures: Departures


class AccountService:
    """Use cases of one's own account."""

    def __init__(
        self,
        tools: AccountTools,
        sessions: SessionService,
        passwords: PasswordService,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._tools = tools
        self._sessions = sessions
        self._passwords = passwords
        self._clock = clock

    async def get(self, user_id: UUID) -> User:
        """Return the account; raises `UserNotFoundError`."""
        return await self._tools.users.get(user_id)

    async def memberships(self, user_id: UUID) -> Sequence[Belonging]:
        """Return where somebody belongs, 200 organizations at most."""
        return await self._tools.memberships.list_of_user(user_id, limit=_MOST_MEMBERSHIPS)

    async def update(self, person: Person, change: MeUpdate, *, if_match: str | None = None) -> User:
        """Change what the body names; raises `PreconditionFailedError`."""
        user = await self._tools.users.get_locked(person.user_id)
        check_if_match(if_match, etag_for(user.revision))
        values = change.model_dump(include=change.model_fields_set, by_alias=False)
        changed = tuple(name for name, value in values.items() if getattr(user, name) != value)
        if changed:
            for name in changed:
                setattr(user, name, values[name])
            await self._save(user, *changed)
        return user

    async def ask_for_address(self, person: Person, *, email: str, password: str) -> None:
        """Mail a link to a new address; the old one stays until it is followed. Raises what `confirm` raises."""
        await self._passwords.confirm(person, password)
        await self._tools.postbox.put(email, MailKind.EMAIL_CHANGE, user_id=str(person.user_id))

    async def confirm_address(self, token: str) -> User | None:
        """Take a new address whose mail was read; None when the link is no such one. Raises `EmailTakenError`."""
        hashed = secret_hash(token)
        taken = (
            None
            if hashed is None
            else await self._tools.tokens.take(hashed, purpose=CHANGE_EMAIL, now=self._clock())
        )
        if taken is None:
            return None
        user = await self._tools.users.get_locked(taken.user_id)
        await self._tools.postbox.tell(
            user, f"The address of your account was changed to {taken.email}. This mail goes to the old one."
        )
        user.email, user.email_key = taken.email, email_key(taken.email)
        user.email_verified_at = self._clock()
        await self._save(user, "email")
        await self._tools.tokens.remove_all(user.id, purpose=CHANGE_EMAIL)
        return user

    async def delete(self, person: Person) -> None:
        """Delete one's own account; raises `RecentSignInRequiredError` and `SoleOwnerError`."""
        await self._sessions.require_recent(person)
        await self._tools.departures.delete(person.user_id, actor=user_subject(person.user_id))

    async def _save(self, user: User, *changed: str) -> None:
        user.revision += 1
        user.updated_at = self._clock()
        await self._tools.users.save()
        await self._tools.events.add(
            user_event("updated", user.id, actor=user_subject(user.id), changed=changed)
        )
