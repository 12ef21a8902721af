"""Rows of API keys."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, DateTime, Uuid, any_, bindparam, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.errors.api_keys import ApiKeyNotFoundError
from undercroft.identity.models.api_keys import ApiKey
from undercroft.identity.repository.reads import Reads
from undercroft.shared.auth import OPERATOR_SCOPE
from undercroft.shared.pagination import Page, PageParams

# Any number that no other advisory lock of this database uses.
_OPERATOR_KEY_LOCK = 0x6F70_6B65_79


class StoredKey(NamedTuple):
    """What a verification needs to know about a key."""

    id: UUID
    organization_id: UUID | None
    scopes: list[str]
    environment: str | None
    allowed_cidrs: list[str]
    secret_hash: bytes
    previous_secret_hash: bytes | None
    previous_expires_at: datetime | None
    expires_at: datetime | None


# Columns instead of entities, and built once: a verification makes no ORM state and no statement.
_STORED_KEY = select(*(getattr(ApiKey, name) for name in StoredKey._fields)).where(
    ApiKey.id == bindparam("key")
)


class StoredKeys:
    """What verifications read."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def find_stored(self, key_id: UUID) -> StoredKey | None:
        """Return what a verification needs, by one look at the primary key."""
        row = await self._reads.find(_STORED_KEY, {"key": key_id})
        return None if row is None else StoredKey._make(row)


class ApiKeyRepository:
    """Reads and writes API keys in the caller's transaction; every key is looked up together with its owner."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, key_id: UUID, *, owner: UUID | None) -> ApiKey:
        """Return an owner's key; raises `ApiKeyNotFoundError`."""
        statement = select(ApiKey).where(ApiKey.id == key_id, _belongs_to(owner))
        return self._found(await self._session.scalar(statement))

    async def get_locked(self, key_id: UUID, *, owner: UUID | None) -> ApiKey:
        """Return an owner's key that nobody else changes until this transaction ends."""
        statement = select(ApiKey).where(ApiKey.id == key_id, _belongs_to(owner)).with_for_update()
        return self._found(
            await self._session.scalar(statement, execution_options={"populate_existing": True})
        )

    async def list(self, page: PageParams, *, owner: UUID | None) -> Page[ApiKey]:
        """Return a page of an owner's keys, oldest first."""
        return await page.fetch(self._session, select(ApiKey).where(_belongs_to(owner)), ApiKey.id)

    async def count(self, *, owner: UUID | None) -> int:
        """Count an owner's keys."""
        statement = select(func.count()).select_from(ApiKey).where(_belongs_to(owner))
        return await self._session.scalar(statement) or 0

    async def add(self, key: ApiKey) -> None:
        """Insert a key."""
        self._session.add(key)
        await self._session.flush()

    async def save(self) -> None:
        """Write what was changed about loaded keys."""
        await self._session.flush()

    async def remove(self, key: ApiKey) -> None:
        """Delete a key."""
        await self._session.delete(key)
        await self._session.flush()

    async def lock_operator_keys(self) -> None:
        """Make those who would make the first operator key at the same moment take turns."""
        await self._session.execute(select(func.pg_advisory_xact_lock(_OPERATOR_KEY_LOCK)))

    async def has_operator_key(self) -> bool:
        """Tell whether any operator key exists."""
        statement = select(ApiKey.id).where(_belongs_to(None), literal(OPERATOR_SCOPE) == any_(ApiKey.scopes))
        return await self._session.scalar(statement.limit(1)) is not None

    async def find_locked(self, key_id: UUID) -> ApiKey | None:
        """Return a key whoever owns it, locked, None when there is none."""
        return await self._session.get(ApiKey, key_id, with_for_update=True)

    async def record_use(self, last_uses: Mapping[UUID, datetime]) -> None:
        """Write times of last use. A key that is being changed at this moment is left out; it is used again."""
        used = (
            func.unnest(
                literal(list(last_uses), ARRAY(Uuid)),
                literal(list(last_uses.values()), ARRAY(DateTime(timezone=True))),
            )
            .table_valued("id", "moment", name="used")
            .render_derived()
        )
        free = select(ApiKey.id).where(ApiKey.id.in_(last_uses)).with_for_update(skip_locked=True)
        statement = update(ApiKey).values(last_used_at=func.greatest(ApiKey.last_used_at, used.c.moment))
        await self._session.execute(
            statement.where(ApiKey.id == used.c.id, ApiKey.id.in_(free)),
            execution_options={"synchronize_session": False},
        )

    @staticmethod
    def _found(key: ApiKey | None) -> ApiKey:
        if key is None:
            raise ApiKeyNotFoundError("There is no such API key.")
        return key


def _belongs_to(owner: UUID | None) -> ColumnElement[bool]:
    return ApiKey.organization_id.is_(None) if owner is None else ApiKey.organization_id == owner
