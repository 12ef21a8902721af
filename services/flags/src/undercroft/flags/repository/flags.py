"""Rows of flags. Where several are locked at once, they are locked in the order of their keys."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.flags.errors import FlagExistsError, FlagNotFoundError
from undercroft.flags.models import Definition, Environment, Flag
from undercroft.flags.repository.revisions import Revision, next_revision
from undercroft.flags.repository.usage import is_unused_since
from undercroft.flags.schemas.names import FlagType, JsonObject
from undercroft.shared.ids import new_uuid7
from undercroft.shared.pagination import Page, PageParams


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFlag:
    """A flag to be inserted."""

    key: str
    type: FlagType
    variants: JsonObject
    description: str = ""
    owner: str | None = None
    tags: tuple[str, ...] = field(default=())
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagFilter:
    """Which flags a list shows; None for what does not matter.

    ``state`` is that in ``environment``. Stale is what has expired, or was not evaluated since ``unused_since``.
    """

    is_archived: bool
    tags: tuple[str, ...]
    owner: str | None
    text: str | None
    type: FlagType | None
    environment: str | None
    state: Literal["ENABLED", "DISABLED"] | None
    is_stale: bool | None
    now: datetime
    unused_since: datetime


class FlagRepository:
    """Reads and writes flags in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, key: str) -> Flag:
        """Return a flag, an archived one too; raises `FlagNotFoundError`."""
        return self._found(await self._session.scalar(select(Flag).where(Flag.key == key)))

    async def get_locked(self, key: str, *, is_shared: bool = False) -> Flag:
        """Return a flag that nobody else changes until this transaction ends.

        Several transactions hold a shared lock at once: those that define the flag in different environments.
        """
        statement = select(Flag).where(Flag.key == key).with_for_update(read=is_shared)
        return self._found(
            await self._session.scalar(statement, execution_options={"populate_existing": True})
        )

    async def list(self, page: PageParams, wanted: FlagFilter) -> Page[Flag]:
        """Return a page of flags in the order they were created."""
        conditions = list(_conditions(wanted))
        return await page.fetch(self._session, select(Flag).where(*conditions), Flag.id)

    async def lock(self, keys: Collection[str]) -> Mapping[str, Flag]:
        """Lock the flags of these keys and return those that exist."""
        statement = select(Flag).where(Flag.key.in_(keys)).order_by(Flag.key).with_for_update()
        rows = await self._session.scalars(statement, execution_options={"populate_existing": True})
        return {flag.key: flag for flag in rows}

    async def archived_among(self, keys: Collection[str]) -> Mapping[str, bool]:
        """Tell of those of these flags that exist whether they are archived."""
        statement = select(Flag.key, Flag.archived_at.is_not(None).label("is_archived")).where(
            Flag.key.in_(keys)
        )
        return {row.key: row.is_archived for row in await self._session.execute(statement)}

    async def count(self) -> int:
        """Count the flags, archived ones too."""
        return await self._session.scalar(select(func.count()).select_from(Flag)) or 0

    async def add(self, new: NewFlag) -> Flag:
        """Insert a flag; raises `FlagExistsError` when its key is taken."""
        statement = insert(Flag).values(self._row(new, await self.draw()))
        statement = statement.on_conflict_do_nothing(index_elements=["key"])
        added: Flag | None = await self._session.scalar(statement.returning(Flag))
        if added is None:
            raise FlagExistsError(f"There is already a flag {new.key}, perhaps an archived one.")
        return added

    async def add_missing(self, flags: Iterable[NewFlag]) -> None:
        """Insert those flags whose key nobody has yet."""
        drawn = await self.draw()
        rows = [self._row(new, drawn) for new in sorted(flags, key=lambda new: new.key)]
        if rows:
            await self._session.execute(insert(Flag).on_conflict_do_nothing(index_elements=["key"]), rows)

    async def draw(self) -> Revision:
        """Draw a revision for a flag that the caller has locked or is about to insert."""
        return await next_revision(self._session)

    async def flush(self) -> None:
        """Write what was changed about loaded flags."""
        await self._session.flush()

    @staticmethod
    def _row(new: NewFlag, drawn: Revision) -> dict[str, object]:
        return {
            "id": new_uuid7(),
            "key": new.key,
            "type": new.type,
            "description": new.description,
            "owner": new.owner,
            "tags": list(new.tags),
            "variants": new.variants,
            "expires_at": new.expires_at,
            "revision": drawn.number,
        }

    @staticmethod
    def _found(flag: Flag | None) -> Flag:
        if flag is None:
            raise FlagNotFoundError("There is no such flag.")
        return flag


def _conditions(wanted: FlagFilter) -> Iterator[ColumnElement[bool]]:
    yield Flag.archived_at.is_not(None) if wanted.is_archived else Flag.archived_at.is_(None)
    if wanted.tags:
        yield Flag.tags.contains(list(wanted.tags))
    if wanted.owner is not None:
        yield Flag.owner == wanted.owner
    if wanted.type is not None:
        yield Flag.type == wanted.type
    if wanted.text is not None:
        yield or_(
            Flag.key.icontains(wanted.text, autoescape=True),
            Flag.description.icontains(wanted.text, autoescape=True),
        )
    if wanted.environment is not None:
        yield Flag.id.in_(_defined(wanted.environment, wanted.state))
    if wanted.is_stale is not None:
        has_expired = func.coalesce(Flag.expires_at <= wanted.now, false())
        is_stale = or_(has_expired, is_unused_since(wanted.unused_since))
        yield is_stale if wanted.is_stale else ~is_stale


def _defined(environment: str, state: str | None) -> Select[UUID]:
    statement = (
        select(Definition.flag_id)
        .join(Environment, Environment.id == Definition.environment_id)
        .where(Environment.key == environment)
    )
    return statement if state is None else statement.where(Definition.is_enabled.is_(state == "ENABLED"))
