"""Use cases of environments."""

from typing import Final

from undercroft.flags.errors import EnvironmentLimitError, EnvironmentProtectedError
from undercroft.flags.events import EnvironmentChange, environment_changed
from undercroft.flags.models import Environment
from undercroft.flags.schemas.environments import EnvironmentCreate, EnvironmentUpdate
from undercroft.flags.service.work import Limits, Repositories
from undercroft.shared.preconditions import check_if_match, etag_for

DEFAULT_ENVIRONMENT: Final = "production"


class EnvironmentService:
    """Creates, changes and deletes environments in the name of `actor`."""

    def __init__(self, repositories: Repositories, *, actor: str, limits: Limits) -> None:
        self._environments = repositories.environments
        self._schedules = repositories.schedules
        self._usage = repositories.usage
        self._events = repositories.events
        self._actor = actor
        self._limits = limits

    async def create(self, new: EnvironmentCreate) -> Environment:
        """Add an empty environment.

        Raises `EnvironmentExistsError` and `EnvironmentLimitError`; the limit is not exact under concurrency.
        """
        if await self._environments.count() >= self._limits.max_environments:
            raise EnvironmentLimitError(f"There are {self._limits.max_environments} environments already.")
        environment = await self._environments.add(new)
        await self._tell("created", environment)
        return environment

    async def update(self, key: str, change: EnvironmentUpdate, *, if_match: str | None) -> Environment:
        """Change the given attributes."""
        environment = await self._locked(key, if_match)
        wanted = {
            name: value
            for name, value in change.model_dump(exclude_unset=True, by_alias=False).items()
            if getattr(environment, name) != value
        }
        if wanted:
            environment.revision, environment.updated_at = await self._environments.draw()
            for name, value in wanted.items():
                setattr(environment, name, value)
            await self._environments.flush()
            await self._tell("updated", environment)
        return environment

    async def delete(self, key: str, *, if_match: str | None) -> None:
        """Remove an environment with all its definitions; keys bound to it evaluate nothing any more.

        Raises `EnvironmentProtectedError` for production, which operator keys without an environment rely on.
        """
        await self._schedules.lock_of(key)
        environment = await self._locked(key, if_match)
        if key == DEFAULT_ENVIRONMENT:
            raise EnvironmentProtectedError(f"{DEFAULT_ENVIRONMENT} cannot be deleted.")
        await self._usage.forget(environment.id)
        await self._environments.remove(environment)
        await self._tell("deleted", environment)

    async def _locked(self, key: str, if_match: str | None) -> Environment:
        environment = await self._environments.get_locked(key)
        check_if_match(if_match, etag_for(environment.revision))
        return environment

    async def _tell(self, change: EnvironmentChange, environment: Environment) -> None:
        await self._events.add(
            environment_changed(
                change, environment.id, environment.key, version=environment.version, actor=self._actor
            )
        )
