"""Use cases of one flag in one environment."""

from typing import NamedTuple

from undercroft.flags.domain.problems import DefinitionError
from undercroft.flags.domain.validation import validate_flag
from undercroft.flags.errors import DefinitionNotFoundError, FlagArchivedError
from undercroft.flags.events import environment_changed, flag_event
from undercroft.flags.models import Environment, Flag
from undercroft.flags.repository.definitions import Placed
from undercroft.flags.schemas import JsonObject
from undercroft.flags.service.checks import check_variants, refused
from undercroft.flags.service.work import Repositories
from undercroft.shared.preconditions import check_if_match, etag_for
from undercroft.shared.serialization import dumps


class Tagged(NamedTuple):
    """A JSON object with the ETag it has now."""

    content: JsonObject
    etag: str


class DefinitionService:
    """Reads and replaces a flag's definition in an environment."""

    def __init__(self, repositories: Repositories, *, actor: str) -> None:
        self._environments = repositories.environments
        self._flags = repositories.flags
        self._definitions = repositories.definitions
        self._events = repositories.events
        self._actor = actor

    async def get(self, key: str, environment_key: str) -> Tagged:
        """Return the definition as it is evaluated; raises `DefinitionNotFoundError` when there is none."""
        flag = await self._flags.get(key)
        environment = await self._environments.get(environment_key)
        definition = await self._definitions.find(environment.id, flag.id)
        if definition is None or flag.archived_at is not None:
            raise DefinitionNotFoundError(f"{key} is not defined in {environment_key}.")
        return Tagged(definition.content, etag_for(definition.revision))

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
        content = {"variants": flag.variants, **definition}
        _check(flag, content, environment)
        if current is not None and dumps(current.content) == dumps(content):
            return Tagged(content, etag_for(current.revision))
        return Tagged(content, etag_for(await self._save(environment, flag, content, current)))

    async def _save(
        self, environment: Environment, flag: Flag, content: JsonObject, current: Placed | None
    ) -> int:
        environment.version, now = await self._environments.draw()
        position = current.position if current else await self._definitions.next_position(environment.id)
        placed = Placed(
            flag_id=flag.id,
            position=position,
            content=content,
            revision=environment.version,
            updated_at=now,
        )
        await self._environments.flush()
        await self._definitions.save(environment.id, [placed])
        await self._events.add(
            flag_event("updated", flag.id, flag.key, actor=self._actor, environment=environment.key),
            environment_changed(
                "flags", environment.id, environment.key, version=environment.version, actor=self._actor
            ),
        )
        return environment.version


def _check(flag: Flag, content: JsonObject, environment: Environment) -> None:
    evaluators = environment.frame.get("$evaluators")
    try:
        validate_flag(flag.key, content, evaluators if isinstance(evaluators, dict) else {})
    except DefinitionError as error:
        raise refused(error) from error
    variants = content["variants"]
    check_variants(variants if isinstance(variants, dict) else {}, flag.type, pointer="/variants")
