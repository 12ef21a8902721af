"""Use cases of one flag in one environment."""

from typing import NamedTuple

from undercroft.flags.errors import DefinitionNotFoundError, FlagArchivedError
from undercroft.flags.repository.changes import Author
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.service.work import Repositories
from undercroft.flags.service.writing import DefinitionWriter, Wanted
from undercroft.shared.preconditions import check_if_match, etag_for


class Tagged(NamedTuple):
    """A JSON object with the ETag it has now."""

    content: JsonObject
    etag: str


class DefinitionService:
    """Reads and replaces a flag's definition in an environment."""

    def __init__(self, repositories: Repositories, *, author: Author) -> None:
        self._environments = repositories.environments
        self._flags = repositories.flags
        self._definitions = repositories.definitions
        self._writer = DefinitionWriter(repositories, author)

    async def get(self, key: str, environment_key: str) -> Tagged:
        """Return the definition as it was written; raises `DefinitionNotFoundError` when there is none."""
        flag = await self._flags.get(key)
        environment = await self._environments.get(environment_key)
        definition = await self._definitions.find(environment.id, flag.id)
        if definition is None or flag.archived_at is not None:
            raise DefinitionNotFoundError(f"{key} is not defined in {environment_key}.")
        return Tagged(definition.written, etag_for(definition.revision))

    async def put(
        self, key: str, environment_key: str, definition: JsonObject, *, if_match: str | None
    ) -> Tagged:
        """Define the flag in the environment, with the flag's own variants when the definition names none.

        Raises `DefinitionInvalidError`, `FlagArchivedError`, `PreconditionFailedError`.
        """
        environment = await self._environments.get_locked(environment_key)
        flag = await self._flags.get_locked(key, is_shared=True)
        if flag.archived_at is not None:
            raise FlagArchivedError(f"{key} is archived.")
        current = await self._definitions.find(environment.id, flag.id)
        check_if_match(if_match, etag_for(current.revision) if current else None)
        source = {"variants": flag.variants, **definition}
        written = await self._writer.write(environment, [Wanted(flag, source)])
        return Tagged(source, etag_for(written[key].revision))
