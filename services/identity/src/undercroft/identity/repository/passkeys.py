"""Rows of passkeys."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.errors.accounts import PasskeyKnownError, PasskeyNotFoundError
from undercroft.identity.models.users import Passkey
from undercroft.identity.repository.conflicts import violated_constraint

_CREDENTIAL = "uq_passkeys_credential_id"


class PasskeyRepository:
    """Reads and writes passkeys in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list(self, user_id: UUID) -> Sequence[Passkey]:
        """Return somebody's passkeys, oldest first; settings bound how many there are."""
        statement = select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.id)
        return (await self._session.scalars(statement)).all()

    async def count(self, user_id: UUID) -> int:
        """Count somebody's passkeys."""
        statement = select(func.count()).select_from(Passkey).where(Passkey.user_id == user_id)
        return await self._session.scalar(statement) or 0

    async def get(self, passkey_id: UUID, *, user_id: UUID) -> Passkey:
        """Return somebody's passkey; raises `PasskeyNotFoundError`."""
        statement = select(Passkey).where(Passkey.id == passkey_id, Passkey.user_id == user_id)
        passkey = await self._session.scalar(statement)
        if passkey is None:
            raise PasskeyNotFoundError("There is no such passkey.")
        return passkey

    async def find_by_credential(self, credential_id: bytes) -> Passkey | None:
        """Return the passkey of a credential, locked."""
        statement = select(Passkey).where(Passkey.credential_id == credential_id).with_for_update()
        return await self._session.scalar(statement)

    async def add(self, passkey: Passkey) -> None:
        """Insert a passkey; raises `PasskeyKnownError`."""
        self._session.add(passkey)
        try:
            await self._session.flush()
        except IntegrityError as error:
            if violated_constraint(error) != _CREDENTIAL:
                raise
            raise PasskeyKnownError("This passkey is registered already.") from error

    async def save(self) -> None:
        """Write what was changed about loaded passkeys."""
        await self._session.flush()

    async def remove(self, passkey: Passkey) -> None:
        """Delete a passkey."""
        await self._session.delete(passkey)
        await self._session.flush()
