"""What the operator does with people."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from undercroft.identity.domain.emails import email_key
from undercroft.identity.events.users import UserHappening, user_event
from undercroft.identity.models.users import User
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.schemas.users import UserUpdate
from undercroft.identity.service.departures import Departures
from undercroft.identity.service.sessions import SessionService
from undercroft.shared.auth import Principal
from undercroft.shared.pagination import Page, PageParams
from undercroft.shared.preconditions import check_if_match, etag_for


class UserService:
    """Use cases of the operator."""

    def __init__(
        self,
        users: UserRepository,
        events: EventRepository,
        sessions: SessionService,
        departures: Departures,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._users = users
        self._events = events
        self._sessions = sessions
        self._departures = departures
        self._clock = clock

    async def list(self, page: PageParams, *, email: str | None) -> Page[User]:
        """Return a page of users, or whoever has an address."""
        return await self._users.list(page, email_key=None if email is None else email_key(email))

    async def get(self, user_id: UUID) -> User:
        """Return a user; raises `UserNotFoundError`."""
        return await self._users.get(user_id)

    async def update(
        self, user_id: UUID, change: UserUpdate, *, principal: Principal, if_match: str | None
    ) -> User:
        """Rename, disable or enable somebody; raises `PreconditionFailedError`."""
        user = await self._users.get_locked(user_id)
        check_if_match(if_match, etag_for(user.revision))
        happenings: list[UserHappening] = []
        if "name" in change.model_fields_set and change.name != user.name:
            user.name = change.name
            happenings.append("updated")
        if "is_disabled" in change.model_fields_set and change.is_disabled != user.is_disabled:
            user.disabled_at = self._clock() if change.is_disabled else None
            happenings.append("disabled" if change.is_disabled else "enabled")
        if happenings:
            user.revision += 1
            user.updated_at = self._clock()
            await self._users.save()
        if "disabled" in happenings:
            await self._sessions.end_everything(user.id, actor=principal.subject)
        await self._events.add(*(user_event(each, user.id, actor=principal.subject) for each in happenings))
        return user

    async def delete(self, user_id: UUID, *, principal: Principal, if_match: str | None) -> None:
        """Delete somebody; raises `SoleOwnerError`."""
        user = await self._users.get(user_id)
        check_if_match(if_match, etag_for(user.revision))
        await self._departures.delete(user_id, actor=principal.subject)
