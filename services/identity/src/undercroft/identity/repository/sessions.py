"""Rows of sessions, and the grants that end with them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.models.sessions import Grant, Session
from undercroft.identity.models.users import User
from undercroft.shared.pagination import Page, PageParams

_PRUNE_BATCH = 1_000


class OpenSession(NamedTuple):
    """What a cookie opens."""

    id: UUID
    user_id: UUID
    methods: list[str]
    authenticated_at: datetime
    last_seen_at: datetime
    created_at: datetime


class Authentication(NamedTuple):
    """When somebody last proved who they are, for a grant."""

    session_id: UUID | None
    authenticated_at: datetime


class EndedSession(NamedTuple):
    """A session that was deleted, and whose it was."""

    id: UUID
    user_id: UUID


class EndedGrant(NamedTuple):
    """A grant that ends, and the organization that it was for."""

    id: UUID
    organization_id: UUID | None


class SessionRepository:
    """Reads and writes sessions in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, session: Session) -> None:
        """Insert a session."""
        self._session.add(session)
        await self._session.flush()

    async def find_open(self, secret_hash: bytes, *, now: datetime) -> OpenSession | None:
        """Return what a cookie opens; nothing for a disabled user."""
        columns = (getattr(Session, name) for name in OpenSession._fields)
        statement = (
            select(*columns)
            .join(User, User.id == Session.user_id)
            .where(Session.secret_hash == secret_hash, Session.expires_at > now, User.disabled_at.is_(None))
        )
        row = (await self._session.execute(statement)).one_or_none()
        return None if row is None else OpenSession._make(row)

    async def note_seen(self, session_id: UUID, *, now: datetime, expires_at: datetime) -> None:
        """Note that a device was seen, which prolongs its session."""
        statement = update(Session).where(Session.id == session_id)
        await self._session.execute(
            statement.values(last_seen_at=now, expires_at=expires_at),
            execution_options={"synchronize_session": False},
        )

    async def renew(self, session_id: UUID, values: Mapping[str, object]) -> bool:
        """Change a session that is still there; False when it is not."""
        statement = update(Session).where(Session.id == session_id).values(values).returning(Session.id)
        result = await self._session.execute(statement, execution_options={"synchronize_session": False})
        return result.one_or_none() is not None

    async def find_authentication(self, grant_id: UUID, *, user_id: UUID) -> Authentication | None:
        """Return when a grant's person last authenticated on the device behind it."""
        statement = (
            select(Grant.session_id, Session.authenticated_at)
            .join(Session, Session.id == Grant.session_id)
            .where(Grant.id == grant_id, Grant.user_id == user_id)
        )
        row = (await self._session.execute(statement)).one_or_none()
        return None if row is None else Authentication._make(row)

    async def list(self, page: PageParams, *, user_id: UUID, now: datetime) -> Page[Session]:
        """Return a page of somebody's sessions, oldest first."""
        statement = select(Session).where(Session.user_id == user_id, Session.expires_at > now)
        return await page.fetch(self._session, statement, Session.id)

    async def newest(self, *, user_id: UUID, now: datetime, limit: int) -> Sequence[Session]:
        """Return somebody's sessions, the last seen first."""
        statement = (
            select(Session)
            .where(Session.user_id == user_id, Session.expires_at > now)
            .order_by(Session.last_seen_at.desc())
            .limit(limit)
        )
        return (await self._session.scalars(statement)).all()

    async def grants_of(self, session_ids: Sequence[UUID]) -> Sequence[EndedGrant]:
        """Return the grants that end with sessions."""
        statement = select(Grant.id, Grant.organization_id).where(Grant.session_id.in_(session_ids))
        return [EndedGrant._make(row) for row in await self._session.execute(statement)]

    async def ids_of(
        self, user_id: UUID, *, only: UUID | None = None, besides: UUID | None = None
    ) -> Sequence[UUID]:
        """Return somebody's sessions, locked: all, one of them, or all but one."""
        statement = select(Session.id).where(Session.user_id == user_id).with_for_update()
        if only is not None:
            statement = statement.where(Session.id == only)
        if besides is not None:
            statement = statement.where(Session.id != besides)
        return (await self._session.scalars(statement)).all()

    async def remove(self, session_ids: Sequence[UUID]) -> None:
        """Delete sessions; their grants and tokens go with them."""
        await self._session.execute(
            delete(Session).where(Session.id.in_(session_ids)),
            execution_options={"synchronize_session": False},
        )

    async def remove_grants(self, user_id: UUID) -> Sequence[EndedGrant]:
        """Delete every grant of somebody, also those that outlive sessions; returns which."""
        statement = delete(Grant).where(Grant.user_id == user_id).returning(Grant.id, Grant.organization_id)
        rows = await self._session.execute(statement, execution_options={"synchronize_session": False})
        return [EndedGrant._make(row) for row in rows]

    async def expired(self, *, now: datetime) -> Sequence[EndedSession]:
        """Return a bounded batch of sessions that are over, locked against other replicas."""
        statement = (
            select(Session.id, Session.user_id)
            .where(Session.expires_at <= now)
            .limit(_PRUNE_BATCH)
            .with_for_update(skip_locked=True)
        )
        return [EndedSession._make(row) for row in (await self._session.execute(statement)).all()]
