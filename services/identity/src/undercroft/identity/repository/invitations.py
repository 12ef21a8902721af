"""Rows of invitations."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.errors.members import AlreadyInvitedError, InvitationNotFoundError
from undercroft.identity.models.organizations import Invitation
from undercroft.identity.repository.conflicts import violated_constraint
from undercroft.shared.pagination import Page, PageParams

_ONE_FOR_EACH_ADDRESS = "uq_invitations_organization_id_email_key"
_PRUNE_BATCH = 1_000


class InvitationRepository:
    """Reads and writes invitations in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, invitation: Invitation) -> None:
        """Insert an invitation; raises `AlreadyInvitedError`."""
        self._session.add(invitation)
        try:
            await self._session.flush()
        except IntegrityError as error:
            if violated_constraint(error) != _ONE_FOR_EACH_ADDRESS:
                raise
            raise AlreadyInvitedError("This address has an invitation already; send it again.") from error

    async def save(self) -> None:
        """Write what was changed about loaded invitations."""
        await self._session.flush()

    async def get_locked(self, invitation_id: UUID, *, organization_id: UUID, now: datetime) -> Invitation:
        """Return an organization's invitation, locked; raises `InvitationNotFoundError`."""
        statement = (
            select(Invitation)
            .where(
                Invitation.id == invitation_id,
                Invitation.organization_id == organization_id,
                Invitation.expires_at > now,
            )
            .with_for_update()
        )
        return self._found(
            await self._session.scalar(statement, execution_options={"populate_existing": True})
        )

    async def get_by_token(self, token_hash: bytes, *, now: datetime) -> Invitation:
        """Return what a link is about; raises `InvitationNotFoundError`."""
        statement = select(Invitation).where(Invitation.token_hash == token_hash, Invitation.expires_at > now)
        return self._found(await self._session.scalar(statement))

    async def take(self, invitation_id: UUID) -> bool:
        """Delete an invitation; of two who accept it at once, the second is told False."""
        statement = delete(Invitation).where(Invitation.id == invitation_id).returning(Invitation.id)
        result = await self._session.execute(statement, execution_options={"synchronize_session": False})
        return result.one_or_none() is not None

    async def remove_expired(self, organization_id: UUID, email_key: str, *, now: datetime) -> None:
        """Make room for a new invitation where only an expired one is left."""
        statement = delete(Invitation).where(
            Invitation.organization_id == organization_id,
            Invitation.email_key == email_key,
            Invitation.expires_at <= now,
        )
        await self._session.execute(statement, execution_options={"synchronize_session": False})

    async def count(self, organization_id: UUID, *, now: datetime) -> int:
        """Count an organization's open invitations."""
        statement = (
            select(func.count())
            .select_from(Invitation)
            .where(Invitation.organization_id == organization_id, Invitation.expires_at > now)
        )
        return await self._session.scalar(statement) or 0

    async def list(self, page: PageParams, *, organization_id: UUID, now: datetime) -> Page[Invitation]:
        """Return a page of an organization's open invitations, oldest first."""
        statement = select(Invitation).where(
            Invitation.organization_id == organization_id, Invitation.expires_at > now
        )
        return await page.fetch(self._session, statement, Invitation.id)

    async def prune(self, *, now: datetime) -> int:
        """Delete a bounded batch of expired ones; returns how many went."""
        doomed = select(Invitation.id).where(Invitation.expires_at <= now).limit(_PRUNE_BATCH)
        statement = delete(Invitation).where(Invitation.id.in_(doomed)).returning(Invitation.id)
        return len((await self._session.execute(statement)).all())

    @staticmethod
    def _found(invitation: Invitation | None) -> Invitation:
        if invitation is None:
            raise InvitationNotFoundError(
                "There is no such invitation; it may be used, withdrawn or expired."
            )
        return invitation
