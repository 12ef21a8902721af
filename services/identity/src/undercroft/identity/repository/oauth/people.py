"""What the authorization server needs to know about people; it changes nothing about them."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.domain.oauth.user_claims import Person
from undercroft.identity.models.organizations import Membership, Organization
from undercroft.identity.models.users import User


class Place(NamedTuple):
    """An organization that somebody belongs to, and what they are there."""

    organization_id: UUID
    name: str
    role: str


class PeopleRepository:
    """Reads people and their places."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, user_id: UUID) -> Person | None:
        """Return a person, None when there is none or they are disabled."""
        columns = [getattr(User, name) for name in Person._fields]
        statement = select(*columns).where(User.id == user_id, User.disabled_at.is_(None))
        row = (await self._session.execute(statement)).one_or_none()
        return None if row is None else Person._make(row)

    async def places(self, user_id: UUID) -> Sequence[Place]:
        """Return somebody's organizations, the one they joined first in front."""
        statement = (
            select(Organization.id, Organization.name, Membership.role)
            .join(Membership, Membership.organization_id == Organization.id)
            .where(Membership.user_id == user_id)
            .order_by(Membership.created_at, Organization.id)
        )
        return [Place._make(row) for row in await self._session.execute(statement)]
