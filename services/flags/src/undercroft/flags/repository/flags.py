"""Rows of flags. Where several are locked at once, they are locked in the order of their keys."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import JSON, ColumnElement, exists, false, func, or_, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import with_expression

from undercroft.flags.errors import FlagExistsError, FlagNotFoundError
from undercroft.flags.models import Definition, Environment, Flag
from undercroft.flags.repository.revisions import Revision, next_revision
from undercroft.flags.repository.usage import is_unused_since
from undercroft.flags.schemas.names import FlagState, FlagType, JsonObject
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
    """Which flags to list; None for what does not matter. ``state`` is that in the environment, or in any.

    Stale is what has expired, or is not evaluated any more.
    """

    is_archived: bool = False
    tags: tuple[str, ...] = ()
    owner: str | None = None
    text: str | None = None
    type: FlagType | None = None
    environment: str | None = None
    state: FlagState | None = None
    is_stale: bool | None = None


# The definitions of archived flags are kept and never shown.
_STATES = (
    select(
        func.coalesce(
            func.json_object_agg(
                Environment.key, aggregate_order_by(Definition.state, Environment.id), type_=JSON
            ),
            text("'{}'::json"),
        )
    )
    .where(
        Definition.flag_id == Flag.id,
        Definition.environment_id == Environment.id,
        Flag.archived_at.is_(None),
    )
    .correlate(Flag)
    .scalar_subquery()
)
_WITH_STATES = select(Flag).options(with_expression(Flag.states, _STATES))


class FlagRepository:
    """Reads and writes flags in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, key: str) -> Flag:
        """Return a flag with its states, an archived one too; raises `FlagNotFoundError`."""
        statement = _WITH_STATES.where(Flag.key == key)
        return self._found(
            await self._session.scalar(statement, execution_options={"populate_existing": True})
        )

    async def get_locked(self, key: str, *, is_shared: bool = False) -> Flag:
        """Return a flag that nobody else changes until this transaction ends.

        Several transactions hold a shared lock at once: those that define the flag in different environments.
        """
        statement = select(Flag).where(Flag.key == key).with_for_update(read=is_shared)
        return self._found(
            await self._session.scalar(statement, execution_options={"populate_existing": True})
        )

    async def list(self, page: PageParams, wanted: FlagFilter, *, unused_since: datetime) -> Page[Flag]:
        """Return a page of flags with their states in the order they were created."""
        conditions = list(_conditions(wanted, unused_since))
        return await page.fetch(self._session, _WITH_STATES.where(*conditions), Flag.id)

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
        """Insert a flag and return it; raises `FlagExistsError` when its key is taken."""
        statement = insert(Flag).values(self._row(new, await self.draw()))
        statement = statement.on_conflict_do_nothing(index_elements=["key"])
        if await self._session.scalar(statement.returning(Flag.id)) is None:
            raise FlagExistsError(f"There is already a flag {new.key}, perhaps an archived one.")
        return await self.get(new.key)

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


def _conditions(wanted: FlagFilter, unused_since: datetime) -> Iterator[ColumnElement[bool]]:
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
    if wanted.environment is not None or wanted.state is not None:
        yield _is_defined(wanted.environment, wanted.state)
    if wanted.is_stale is not None:
        has_expired = func.coalesce(Flag.expires_at <= func.now(), false())
        is_stale = or_(has_expired, is_unused_since(unused_since))
        yield is_stale if wanted.is_stale else ~is_stale


def _is_defined(environment: str | None, state: FlagState | None) -> ColumnElement[bool]:
    conditions = [Definition.flag_id == Flag.id]
    if environment is not None:
        conditions.append(Definition.environment_id == Environment.id)
        conditions.append(Environment.key == environment)
    if state is not None:
        conditions.append(Definition.state == state)
    return exists().where(*conditions)
