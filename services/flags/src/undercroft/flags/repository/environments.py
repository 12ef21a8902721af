"""Rows of environments. Writers lock an environment before any flag, so that they never wait for each other in a ring."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.flags.errors import EnvironmentExistsError, EnvironmentNotFoundError
from undercroft.flags.models import Environment
from undercroft.flags.repository.revisions import Revision, next_revision
from undercroft.flags.schemas.environments import EnvironmentCreate
from undercroft.flags.schemas.names import JsonObject
from undercroft.shared.ids import new_uuid7
from undercroft.shared.pagination import Page, PageParams

EMPTY_FRAME: JsonObject = {"flags": {}}


class EnvironmentRepository:
    """Reads and writes environments in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, key: str) -> Environment:
        """Return an environment; raises `EnvironmentNotFoundError`."""
        return self._found(await self._session.scalar(select(Environment).where(Environment.key == key)))

    async def get_locked(self, key: str) -> Environment:
        """Return an environment that nobody else changes until this transaction ends."""
        statement = select(Environment).where(Environment.key == key).with_for_update()
        return self._found(
            await self._session.scalar(statement, execution_options={"populate_existing": True})
        )

    async def list(self, page: PageParams) -> Page[Environment]:
        """Return a page of environments in the order they were created."""
        return await page.fetch(self._session, select(Environment), Environment.id)

    async def lock_all(self) -> Sequence[Environment]:
        """Lock every environment, always in the same order, and return them."""
        statement = select(Environment).order_by(Environment.id).with_for_update()
        return (await self._session.scalars(statement, execution_options={"populate_existing": True})).all()

    async def lock(self, keys: Collection[str]) -> Mapping[str, Environment]:
        """Lock the environments of these keys, always in the same order, and return those that exist."""
        statement = select(Environment).where(Environment.key.in_(keys)).order_by(Environment.id)
        rows = await self._session.scalars(
            statement.with_for_update(), execution_options={"populate_existing": True}
        )
        return {environment.key: environment for environment in rows}

    async def count(self) -> int:
        """Count the environments."""
        return await self._session.scalar(select(func.count()).select_from(Environment)) or 0

    async def add(self, new: EnvironmentCreate) -> Environment:
        """Insert an environment; raises `EnvironmentExistsError` when its key is taken."""
        drawn = await self.draw()
        values = {
            "id": new_uuid7(),
            "key": new.key,
            "name": new.name or new.key,
            "description": new.description,
            "frame": EMPTY_FRAME,
            "revision": drawn.number,
            "version": drawn.number,
        }
        statement = insert(Environment).values(values).on_conflict_do_nothing(index_elements=["key"])
        added: Environment | None = await self._session.scalar(statement.returning(Environment))
        if added is None:
            raise EnvironmentExistsError(f"There is already an environment {new.key}.")
        return added

    async def remove(self, environment: Environment) -> None:
        """Delete an environment and every definition in it."""
        await self._session.delete(environment)
        await self._session.flush()

    async def draw(self) -> Revision:
        """Draw a revision for an environment that the caller has locked or is about to insert."""
        return await next_revision(self._session)

    async def flush(self) -> None:
        """Write what was changed about loaded environments."""
        await self._session.flush()

    @staticmethod
    def _found(environment: Environment | None) -> Environment:
        if environment is None:
            raise EnvironmentNotFoundError("There is no such environment.")
        return environment
