"""Rows of the history. They are only ever added."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.flags.errors import RevisionNotFoundError
from undercroft.flags.models import Change
from undercroft.flags.schemas.names import ChangeOrigin, JsonObject
from undercroft.shared.pagination import Page, PageParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who changes something and by what way; a schedule acts in the name of who wrote it."""

    actor: str
    origin: ChangeOrigin = "edit"
    schedule_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChange:
    """What a change made of something; None for what was not there, or is there no more."""

    before: JsonObject | None
    after: JsonObject | None
    flag_id: UUID | None = None
    environment: str | None = None
    segment: str | None = None


class ChangeRepository:
    """Reads and adds to the history in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, author: Author, changes: Sequence[NewChange]) -> None:
        """Record what one author did at once; revisions grow in the order given."""
        if not changes:
            return
        rows = [
            {
                "flag_id": each.flag_id,
                "environment": each.environment,
                "segment": each.segment,
                "before": each.before,
                "after": each.after,
                "actor": author.actor,
                "origin": author.origin,
                "schedule_id": author.schedule_id,
            }
            for each in changes
        ]
        await self._session.execute(insert(Change), rows)

    async def of_flag(self, flag_id: UUID, page: PageParams, *, environment: str | None) -> Page[Change]:
        """Return a page of a flag's history, the newest first; with `environment`, only what was changed there."""
        statement = select(Change).where(Change.flag_id == flag_id)
        if environment is not None:
            statement = statement.where(Change.environment == environment)
        return await page.fetch(self._session, statement, Change.revision, descending=True)

    async def of_segment(self, key: str, page: PageParams) -> Page[Change]:
        """Return a page of the history of a segment's key, the newest first."""
        statement = select(Change).where(Change.segment == key)
        return await page.fetch(self._session, statement, Change.revision, descending=True)

    async def get(self, revision: int, *, flag_id: UUID | None = None, segment: str | None = None) -> Change:
        """Return one change of a flag or of a segment; raises `RevisionNotFoundError`."""
        subject = Change.segment == segment if flag_id is None else Change.flag_id == flag_id
        change = await self._session.scalar(select(Change).where(Change.revision == revision, subject))
        if change is None:
            raise RevisionNotFoundError("There is no such revision in this history.")
        return change

    async def latest(
        self, *, flag_id: UUID | None = None, environment: str | None = None, segment: str | None = None
    ) -> Change | None:
        """Return the last change of a flag itself, of its definition in an environment, or of a segment."""
        statement = select(Change).where(
            Change.segment == segment if flag_id is None else Change.flag_id == flag_id,
            Change.environment.is_(None) if environment is None else Change.environment == environment,
        )
        return await self._session.scalar(statement.order_by(Change.revision.desc()).limit(1))
