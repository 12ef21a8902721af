"""Where people are signed in: opened by a cookie, prolonged by use, ended one by one or all at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from undercroft.identity.domain.link_secrets import hash_of, new_secret, secret_hash
from undercroft.identity.domain.sign_in import Device, Person, SignedIn
from undercroft.identity.errors.accounts import RecentSignInRequiredError, SessionNotFoundError
from undercroft.identity.events.grants import grant_revoked
from undercroft.identity.events.users import session_event, user_subject
from undercroft.identity.models.sessions import Session
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.sessions import SessionRepository
from undercroft.shared.ids import new_uuid7
from undercroft.shared.pagination import Page, PageParams

# How often a visit is written down.
_SEEN_INTERVAL: Final = timedelta(minutes=5)
_MOST_SHOWN: Final = 100
_LONGEST_USER_AGENT: Final = 400


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """What settings say about sessions."""

    life: timedelta
    idle: timedelta
    recent: timedelta


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session that was just opened; `secret` is for the cookie and shown this once."""

    id: UUID
    user_id: UUID
    secret: str
    methods: tuple[str, ...]
    authenticated_at: datetime
    expires_at: datetime


class SessionService:
    """Use cases of sessions."""

    def __init__(
        self,
        sessions: SessionRepository,
        events: EventRepository,
        policy: SessionPolicy,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._sessions = sessions
        self._events = events
        self._policy = policy
        self._clock = clock

    async def open(self, user_id: UUID, *, methods: Sequence[str], device: Device) -> OpenedSession:
        """Sign somebody in on a device; whoever was signed in there before is not any more.

        The same person keeps the session, under a new cookie: what was granted to clients in it goes on.
        """
        secret, now = new_secret(), self._clock()
        here = device.signed_in
        if here is not None and here.user_id == user_id:
            expires_at = now + min(self._policy.life, self._policy.idle)
            renewed = {
                "secret_hash": hash_of(secret),
                "methods": list(methods),
                "authenticated_at": now,
                "last_seen_at": now,
                "created_at": now,
                "expires_at": expires_at,
            }
            if await self._sessions.renew(here.session_id, renewed):
                return OpenedSession(here.session_id, user_id, secret, tuple(methods), now, expires_at)
        elif here is not None:
            await self.end_all(here.user_id, actor=user_subject(here.user_id), only=here.session_id)
        session = Session(
            id=new_uuid7(),
            user_id=user_id,
            secret_hash=hash_of(secret),
            methods=list(methods),
            authenticated_at=now,
            user_agent=device.user_agent[:_LONGEST_USER_AGENT],
            address=device.address,
            last_seen_at=now,
            expires_at=now + min(self._policy.life, self._policy.idle),
        )
        await self._sessions.add(session)
        await self._events.add(
            session_event("created", session.id, user_id=user_id, actor=user_subject(user_id))
        )
        return OpenedSession(session.id, user_id, secret, tuple(methods), now, session.expires_at)

    async def find_by_cookie(self, secret: str) -> SignedIn | None:
        """Return who is signed in with a cookie, and note the visit now and then."""
        hashed = secret_hash(secret)
        now = self._clock()
        found = None if hashed is None else await self._sessions.find_open(hashed, now=now)
        if found is None:
            return None
        if now - found.last_seen_at >= _SEEN_INTERVAL:
            expires_at = min(found.created_at + self._policy.life, now + self._policy.idle)
            await self._sessions.note_seen(found.id, now=now, expires_at=expires_at)
        return SignedIn(found.user_id, found.id, tuple(found.methods), found.authenticated_at)

    async def list(self, page: PageParams, *, user_id: UUID) -> Page[Session]:
        """Return a page of somebody's sessions."""
        return await self._sessions.list(page, user_id=user_id, now=self._clock())

    async def newest(self, user_id: UUID) -> Sequence[Session]:
        """Return somebody's sessions for a page that people look at, the last seen first."""
        return await self._sessions.newest(user_id=user_id, now=self._clock(), limit=_MOST_SHOWN)

    async def current(self, person: Person) -> UUID | None:
        """Return the session that somebody acts in."""
        if person.signed_in is not None:
            return person.signed_in.session_id
        if person.grant_id is None:
            return None
        found = await self._sessions.find_authentication(person.grant_id, user_id=person.user_id)
        return None if found is None else found.session_id

    async def require_recent(self, person: Person) -> None:
        """Raise `RecentSignInRequiredError` unless the person has authenticated just now."""
        authenticated_at = None
        if person.signed_in is not None:
            authenticated_at = person.signed_in.authenticated_at
        elif person.grant_id is not None:
            found = await self._sessions.find_authentication(person.grant_id, user_id=person.user_id)
            authenticated_at = None if found is None else found.authenticated_at
        if authenticated_at is None or self._clock() - authenticated_at > self._policy.recent:
            raise RecentSignInRequiredError("Sign in again, then repeat this.")

    async def end(self, session_id: UUID, *, user_id: UUID) -> None:
        """Sign somebody out of one device; raises `SessionNotFoundError`."""
        found = await self._sessions.ids_of(user_id, only=session_id)
        if not found:
            raise SessionNotFoundError("There is no such session.")
        await self._end(found, user_id=user_id, actor=user_subject(user_id))

    async def end_all(
        self, user_id: UUID, *, actor: str, besides: UUID | None = None, only: UUID | None = None
    ) -> None:
        """Sign somebody out everywhere, everywhere else, or in one place if that is still open."""
        found = await self._sessions.ids_of(user_id, only=only, besides=besides)
        await self._end(found, user_id=user_id, actor=actor)

    async def end_everything(self, user_id: UUID, *, actor: str) -> None:
        """Sign somebody out everywhere and end what they granted to clients, offline access too."""
        await self.end_all(user_id, actor=actor)
        revoked = await self._sessions.remove_grants(user_id)
        await self._events.add(
            *(
                grant_revoked(each.id, user_id=user_id, organization_id=each.organization_id, actor=actor)
                for each in revoked
            )
        )

    async def end_expired(self, *, actor: str) -> int:
        """End a bounded batch of sessions that are over; returns how many."""
        expired = await self._sessions.expired(now=self._clock())
        for session in expired:
            await self._end([session.id], user_id=session.user_id, actor=actor)
        return len(expired)

    async def _end(self, session_ids: Sequence[UUID], *, user_id: UUID, actor: str) -> None:
        if not session_ids:
            return
        grants = await self._sessions.grants_of(session_ids)
        await self._sessions.remove(session_ids)
        await self._events.add(
            *(session_event("ended", each, user_id=user_id, actor=actor) for each in session_ids),
            *(
                grant_revoked(each.id, user_id=user_id, organization_id=each.organization_id, actor=actor)
                for each in grants
            ),
        )
