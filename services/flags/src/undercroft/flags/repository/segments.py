"""Rows of segments. There are few: a change of one reads them all, since they may be written into one another."""

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.flags.errors import SegmentExistsError, SegmentNotFoundError
from undercroft.flags.models import Segment
from undercroft.flags.repository.revisions import Revision, next_revision
from undercroft.flags.schemas.names import JsonObject
from undercroft.shared.ids import new_uuid7
from undercroft.shared.pagination import Page, PageParams


class SegmentRepository:
    """Reads and writes segments in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, key: str) -> Segment:
        """Return a segment; raises `SegmentNotFoundError`."""
        segment = await self._session.scalar(select(Segment).where(Segment.key == key))
        if segment is None:
            raise SegmentNotFoundError("There is no such segment.")
        return segment

    async def list(self, page: PageParams) -> Page[Segment]:
        """Return a page of segments in the order they were created."""
        return await page.fetch(self._session, select(Segment), Segment.id)

    async def all(self) -> Mapping[str, Segment]:
        """Return every segment by its key, as it is now."""
        rows = await self._session.scalars(
            select(Segment).order_by(Segment.key), execution_options={"populate_existing": True}
        )
        return {segment.key: segment for segment in rows}

    async def count(self) -> int:
        """Count the segments."""
        return await self._session.scalar(select(func.count()).select_from(Segment)) or 0

    async def add(self, key: str, *, name: str, description: str, definition: JsonObject) -> Segment:
        """Insert a segment; raises `SegmentExistsError` when its key is taken."""
        values = {
            "id": new_uuid7(),
            "key": key,
            "name": name,
            "description": description,
            "definition": definition,
            "revision": (await self.draw()).number,
        }
        statement = insert(Segment).values(values).on_conflict_do_nothing(index_elements=["key"])
        added: Segment | None = await self._session.scalar(statement.returning(Segment))
        if added is None:
            raise SegmentExistsError(f"There is already a segment {key}.")
        return added

    async def remove(self, segment: Segment) -> None:
        """Delete a segment."""
        await self._session.delete(segment)
        await self._session.flush()

    async def draw(self) -> Revision:
        """Draw a revision for a segment; whoever changes one has locked every environment."""
        return await next_revision(self._session)

    async def flush(self) -> None:
        """Write what was changed about loaded segments."""
        await self._session.flush()
