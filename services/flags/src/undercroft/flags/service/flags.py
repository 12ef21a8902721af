"""Use cases of flags: what a flag is everywhere."""

from collections.abc import Mapping
from datetime import datetime

from undercroft.flags.errors import FlagLimitError
from undercroft.flags.events import FlagHappening, environment_changed, flag_event
from undercroft.flags.models import Flag
from undercroft.flags.repository.flags import NewFlag
from undercroft.flags.schemas import FlagCreate, FlagType, FlagUpdate, JsonObject
from undercroft.flags.service.checks import check_variants
from undercroft.flags.service.work import Limits, Repositories
from undercroft.shared.preconditions import check_if_match, etag_for

_BOOLEAN_VARIANTS: Mapping[str, bool] = {"on": True, "off": False}


class FlagService:
    """Creates, changes and archives flags in the name of `actor`."""

    def __init__(self, repositories: Repositories, *, actor: str, limits: Limits) -> None:
        self._environments = repositories.environments
        self._flags = repositories.flags
        self._definitions = repositories.definitions
        self._events = repositories.events
        self._actor = actor
        self._limits = limits

    async def create(self, new: FlagCreate) -> Flag:
        """Add a flag that no environment defines yet.

        Raises `FlagExistsError`, `FlagLimitError` (not exact under concurrency) and `DefinitionInvalidError`.
        """
        variants = _default_variants(new.type) if new.variants is None else new.variants
        check_variants(variants, new.type, pointer="/variants")
        if await self._flags.count() >= self._limits.max_flags:
            raise FlagLimitError(f"There are {self._limits.max_flags} flags already.")
        flag = await self._flags.add(
            NewFlag(
                key=new.key,
                type=new.type,
                variants=variants,
                description=new.description,
                owner=new.owner,
                tags=tuple(new.tags),
            )
        )
        await self._events.add(flag_event("created", flag.id, flag.key, actor=self._actor))
        return flag

    async def update(self, key: str, change: FlagUpdate, *, if_match: str | None) -> Flag:
        """Change the given attributes; archive the flag, or bring it back with the definitions it had."""
        wanted = change.model_dump(exclude_unset=True, by_alias=False)
        is_archived = wanted.pop("archived", None)
        if is_archived is not None:
            await self._environments.lock_all()
        flag = await self._locked(key, if_match)
        if "variants" in wanted:
            check_variants(wanted["variants"], flag.type, pointer="/variants")
        is_moved = is_archived is not None and is_archived != (flag.archived_at is not None)
        if is_moved or any(getattr(flag, name) != value for name, value in wanted.items()):
            drawn = await self._flags.draw()
            flag.revision, flag.updated_at = drawn
            for name, value in wanted.items():
                setattr(flag, name, value)
            await self._move(flag, drawn.at if is_archived else None, is_moved=is_moved)
        return await self._flags.get(key)

    async def archive(self, key: str, *, if_match: str | None) -> None:
        """Take a flag out of every environment; archiving it again changes nothing."""
        await self.update(key, FlagUpdate(archived=True), if_match=if_match)

    async def _move(self, flag: Flag, archived_at: datetime | None, *, is_moved: bool) -> None:
        if is_moved:
            flag.archived_at = archived_at
            await self._touch_environments(flag)
        await self._flags.flush()
        happening: FlagHappening = "archived" if is_moved and archived_at is not None else "updated"
        await self._events.add(flag_event(happening, flag.id, flag.key, actor=self._actor))

    async def _touch_environments(self, flag: Flag) -> None:
        defining = await self._definitions.environments_of(flag.id)
        for environment in await self._environments.lock_all():
            if environment.id in defining:
                environment.version, _ = await self._environments.draw()
                event = environment_changed(
                    "flags",
                    environment.id,
                    environment.key,
                    version=environment.version,
                    actor=self._actor,
                )
                await self._events.add(event)

    async def _locked(self, key: str, if_match: str | None) -> Flag:
        flag = await self._flags.get_locked(key)
        check_if_match(if_match, etag_for(flag.revision))
        return flag


def _default_variants(flag_type: FlagType) -> JsonObject:
    return dict(_BOOLEAN_VARIANTS) if flag_type == "boolean" else {}
