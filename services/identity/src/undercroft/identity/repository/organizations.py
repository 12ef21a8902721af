"""Rows of organizations."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.errors.organizations import ExternalKeyTakenError, OrganizationNotFoundError
from undercroft.identity.models.organizations import Organization
from undercroft.identity.repository.conflicts import violated_constraint
from undercroft.shared.pagination import Page, PageParams

_EXTERNAL_KEY = "uq_organizations_external_key"


class OrganizationRepository:
    """Reads and writes organizations in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, organization_id: UUID) -> Organization:
        """Return an organization; raises `OrganizationNotFoundError`."""
        statement = select(Organization).where(Organization.id == organization_id)
        return self._found(await self._session.scalar(statement))

    async def get_locked(self, organization_id: UUID) -> Organization:
        """Return an organization that nobody else changes until this transaction ends."""
        statement = select(Organization).where(Organization.id == organization_id).with_for_update()
        return self._found(
            await self._session.scalar(statement, execution_options={"populate_existing": True})
        )

    async def list(self, page: PageParams, *, among: Collection[UUID] | None) -> Page[Organization]:
        """Return a page of those organizations, or with None of all, oldest first."""
        statement = select(Organization)
        if among is not None:
            statement = statement.where(Organization.id.in_(among))
        return await page.fetch(self._session, statement, Organization.id)

    async def add(self, organization: Organization) -> None:
        """Insert an organization; raises `ExternalKeyTakenError`."""
        self._session.add(organization)
        await self.save()

    async def save(self) -> None:
        """Write what was changed about loaded organizations; raises `ExternalKeyTakenError`."""
        try:
            await self._session.flush()
        except IntegrityError as error:
            if violated_constraint(error) != _EXTERNAL_KEY:
                raise
            raise ExternalKeyTakenError("Another organization has this external key.") from error

    async def remove(self, organization: Organization) -> None:
        """Delete an organization and everything that belongs to it."""
        await self._session.delete(organization)
        await self._session.flush()

    @staticmethod
    def _found(organization: Organization | None) -> Organization:
        if organization is None:
            raise OrganizationNotFoundError("There is no such organization.")
        return organization
