"""Use cases of flags: what a flag is everywhere."""

from collections.abc import Mapping
from datetime import datetime

from undercroft.flags.errors import (
    DefinitionInvalidError,
    FlagLimitError,
    FlagRequiredError,
    PrerequisiteMissingError,
)
from undercroft.flags.events import FlagHappening, environment_changed, flag_event
from undercroft.flags.models import Flag
from undercroft.flags.repository.changes import Author, NewChange
from undercroft.flags.repository.flags import NewFlag
from undercroft.flags.schemas.flags import FlagCreate, FlagUpdate
from undercroft.flags.schemas.names import FlagType, JsonObject
from undercroft.flags.service.checks import check_variants
from undercroft.flags.service.work import Limits, Repositories
from undercroft.flags.service.writing import DefinitionWriter
from undercroft.shared.preconditions import check_if_match, etag_for
from undercroft.shared.serialization import format_timestamp

_BOOLEAN_VARIANTS: Mapping[str, bool] = {"on": True, "off": False}


class FlagService:
    """Creates, changes and archives flags in the name of an author."""

    def __init__(self, repositories: Repositories, *, author: Author, limits: Limits) -> None:
        self._environments = repositories.environments
        self._flags = repositories.flags
        self._definitions = repositories.definitions
        self._changes = repositories.changes
        self._events = repositories.events
        self._writer = DefinitionWriter(repositories, author)
        self._author = author
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
                expires_at=new.expires_at,
            )
        )
        await self._changes.add(
            self._author, [NewChange(flag_id=flag.id, before=None, after=attributes_of(flag))]
        )
        await self._events.add(flag_event("created", flag.id, flag.key, actor=self._author.actor))
        return flag

    async def update(self, key: str, change: FlagUpdate, *, if_match: str | None) -> Flag:
        """Change the given attributes; archive the flag, or bring it back with the definitions it had.

        Raises `FlagRequiredError` when another flag requires one that is archived, and `PrerequisiteMissingError`
        when one that comes back requires what is gone.
        """
        wanted = change.model_dump(exclude_unset=True, by_alias=False)
        is_archived = wanted.pop("archived", None)
        if is_archived is not None:
            await self._environments.lock_all()
        flag = await self._locked(key, if_match)
        if "variants" in wanted:
            check_variants(wanted["variants"], flag.type, pointer="/variants")
        is_moved = is_archived is not None and is_archived != (flag.archived_at is not None)
        if is_moved or any(getattr(flag, name) != value for name, value in wanted.items()):
            before = attributes_of(flag)
            drawn = await self._flags.draw()
            flag.revision, flag.updated_at = drawn
            for name, value in wanted.items():
                setattr(flag, name, value)
            await self._move(flag, drawn.at if is_archived else None, is_moved=is_moved)
            await self._changes.add(
                self._author, [NewChange(flag_id=flag.id, before=before, after=attributes_of(flag))]
            )
        return await self._flags.get(key)

    async def archive(self, key: str, *, if_match: str | None) -> None:
        """Take a flag out of every environment; archiving it again changes nothing."""
        await self.update(key, FlagUpdate(archived=True), if_match=if_match)

    async def _move(self, flag: Flag, archived_at: datetime | None, *, is_moved: bool) -> None:
        if is_moved:
            await self._check_not_required(flag, is_leaving=archived_at is not None)
            flag.archived_at = archived_at
            await self._flags.flush()
            await self._touch_environments(flag, is_back=archived_at is None)
        await self._flags.flush()
        happening: FlagHappening = "archived" if is_moved and archived_at is not None else "updated"
        await self._events.add(flag_event(happening, flag.id, flag.key, actor=self._author.actor))

    async def _check_not_required(self, flag: Flag, *, is_leaving: bool) -> None:
        users = await self._definitions.dependents_of(flag.key) if is_leaving else ()
        if users:
            named = ", ".join(f"{key} in {environment}" for environment, key in users[:10])
            raise FlagRequiredError(f"{flag.key} is a prerequisite of {named}.")

    async def _touch_environments(self, flag: Flag, *, is_back: bool) -> None:
        defining = await self._definitions.environments_of(flag.id)
        for environment in await self._environments.lock_all():
            if environment.id not in defining:
                continue
            environment.version, _ = await self._environments.draw()
            if is_back:
                try:
                    await self._writer.recompile(environment, flag)
                except DefinitionInvalidError as error:
                    problems = "; ".join(problem.detail for problem in error.problems)
                    raise PrerequisiteMissingError(
                        f"{flag.key} cannot be evaluated in {environment.key} any more: {problems}."
                    ) from error
            event = environment_changed(
                "flags",
                environment.id,
                environment.key,
                version=environment.version,
                actor=self._author.actor,
            )
            await self._events.add(event)

    async def _locked(self, key: str, if_match: str | None) -> Flag:
        flag = await self._flags.get_locked(key)
        check_if_match(if_match, etag_for(flag.revision))
        return flag


def attributes_of(flag: Flag) -> JsonObject:
    """Return what the history keeps of a flag."""
    return {
        "type": flag.type,
        "description": flag.description,
        "owner": flag.owner,
        "tags": list(flag.tags),
        "variants": flag.variants,
        "expiresAt": None if flag.expires_at is None else format_timestamp(flag.expires_at),
        "archived": flag.archived_at is not None,
    }


def _default_variants(flag_type: FlagType) -> JsonObject:
    return dict(_BOOLEAN_VARIANTS) if flag_type == "boolean" else {}
