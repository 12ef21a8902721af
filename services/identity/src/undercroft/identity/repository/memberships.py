"""Rows of memberships."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.domain.roles import Role
from undercroft.identity.errors.members import MemberNotFoundError
from undercroft.identity.models.organizations import Membership, Organization
from undercroft.identity.models.users import User
from undercroft.shared.pagination import Page, PageParams


class Member(NamedTuple):
    """A membership and who it is."""

    membership: Membership
    user: User


class Belonging(NamedTuple):
    """A membership and where it is."""

    membership: Membership
    organization: Organization


class MembershipRepository:
    """Reads and writes memberships in the caller's transaction.

    Whoever changes them holds the organization's row (`OrganizationRepository.get_locked`), so that what is counted
    stays true.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, membership: Membership) -> None:
        """Insert a membership."""
        self._session.add(membership)
        await self._session.flush()

    async def save(self) -> None:
        """Write what was changed about loaded memberships."""
        await self._session.flush()

    async def remove(self, membership: Membership) -> None:
        """Delete a membership."""
        await self._session.delete(membership)
        await self._session.flush()

    async def find(self, organization_id: UUID, user_id: UUID) -> Membership | None:
        """Return somebody's place in an organization."""
        statement = select(Membership).where(
            Membership.organization_id == organization_id, Membership.user_id == user_id
        )
        return await self._session.scalar(statement, execution_options={"populate_existing": True})

    async def get(self, organization_id: UUID, user_id: UUID) -> Membership:
        """Return somebody's place in an organization; raises `MemberNotFoundError`."""
        membership = await self.find(organization_id, user_id)
        if membership is None:
            raise MemberNotFoundError("There is no such member.")
        return membership

    async def find_by_email(self, organization_id: UUID, email_key: str) -> Membership | None:
        """Return the membership of whoever has an address."""
        statement = (
            select(Membership)
            .join(User, User.id == Membership.user_id)
            .where(Membership.organization_id == organization_id, User.email_key == email_key)
        )
        return await self._session.scalar(statement)

    async def count_owners(self, organization_id: UUID) -> int:
        """Count an organization's owners."""
        statement = (
            select(func.count())
            .select_from(Membership)
            .where(Membership.organization_id == organization_id, Membership.role == Role.OWNER)
        )
        return await self._session.scalar(statement) or 0

    async def list(self, page: PageParams, *, organization_id: UUID) -> Page[Membership]:
        """Return a page of an organization's memberships."""
        statement = select(Membership).where(Membership.organization_id == organization_id)
        return await page.fetch(self._session, statement, Membership.user_id)

    async def users_of(self, memberships: Sequence[Membership]) -> dict[UUID, User]:
        """Return who belongs to memberships, by id."""
        ids = [membership.user_id for membership in memberships]
        return {user.id: user for user in await self._session.scalars(select(User).where(User.id.in_(ids)))}

    async def list_of_user(self, user_id: UUID, *, limit: int) -> Sequence[Belonging]:
        """Return where somebody belongs, oldest first."""
        statement = (
            select(Membership, Organization)
            .join(Organization, Organization.id == Membership.organization_id)
            .where(Membership.user_id == user_id)
            .order_by(Organization.id)
            .limit(limit)
        )
        return [Belonging._make(row) for row in await self._session.execute(statement)]

    async def organizations_of(self, user_id: UUID) -> Sequence[UUID]:
        """Return the organizations that somebody belongs to."""
        statement = select(Membership.organization_id).where(Membership.user_id == user_id)
        return (await self._session.scalars(statement.order_by(Membership.organization_id))).all()
