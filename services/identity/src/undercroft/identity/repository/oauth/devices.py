"""Rows of device authorizations."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.models.oauth import DeviceCode

_FRESH = {"populate_existing": True}


class DeviceRepository:
    """Reads and writes device codes in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, row: DeviceCode) -> None:
        """Insert a device code."""
        self._session.add(row)
        await self._session.flush()

    async def save(self) -> None:
        """Write what was changed about loaded rows."""
        await self._session.flush()

    async def remove(self, row: DeviceCode) -> None:
        """Delete a device code."""
        await self._session.delete(row)
        await self._session.flush()

    async def find_locked(self, device_code_hash: bytes) -> DeviceCode | None:
        """Return what a device polls for, locked: of two polls one waits for the other."""
        statement = select(DeviceCode).where(DeviceCode.device_code_hash == device_code_hash)
        return await self._session.scalar(statement.with_for_update(), execution_options=_FRESH)

    async def find_by_user_code(self, user_code: str, *, lock: bool = False) -> DeviceCode | None:
        """Return what somebody entered the code of."""
        statement = select(DeviceCode).where(DeviceCode.user_code == user_code)
        if lock:
            statement = statement.with_for_update()
        return await self._session.scalar(statement, execution_options=_FRESH)
