"""Use cases of an environment's whole flagd document: export and import, without loss."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, cast

from undercroft.flags.domain.problems import DefinitionError
from undercroft.flags.domain.rule_checks import escape
from undercroft.flags.domain.validation import validate_document, variant_type
from undercroft.flags.errors import FlagLimitError
from undercroft.flags.events import environment_changed, flag_event
from undercroft.flags.models import Environment, Flag
from undercroft.flags.repository.definitions import Placed
from undercroft.flags.repository.flags import NewFlag
from undercroft.flags.repository.revisions import Revision
from undercroft.flags.schemas import DocumentResult, FlagType, JsonObject
from undercroft.flags.service.checks import refuse, refused, wrong_variants
from undercroft.flags.service.definitions import Tagged
from undercroft.flags.service.differences import Difference, compare, is_same
from undercroft.flags.service.work import Limits, Repositories
from undercroft.shared.events import Event
from undercroft.shared.preconditions import check_if_match, etag_for


class Imported(NamedTuple):
    """What an import did, and the document's ETag after it."""

    result: DocumentResult
    etag: str


class DocumentService:
    """Gives out and replaces everything that an environment evaluates."""

    def __init__(self, repositories: Repositories, *, actor: str, limits: Limits) -> None:
        self._environments = repositories.environments
        self._flags = repositories.flags
        self._definitions = repositories.definitions
        self._events = repositories.events
        self._actor = actor
        self._limits = limits

    async def get(self, environment_key: str) -> Tagged:
        """Return the document as it was put, with what changed since in its place."""
        environment = await self._environments.get(environment_key)
        definitions = await self._definitions.list(environment.id)
        flags: JsonObject = {key: definition.content for key, definition in definitions.items()}
        document = {name: flags if name == "flags" else value for name, value in environment.frame.items()}
        return Tagged(document, etag_for(environment.version))

    async def put(self, environment_key: str, document: JsonObject, *, if_match: str | None) -> Imported:
        """Replace the document; flags that it lacks leave the environment, and are archived when no other has them.

        What flagd loads is accepted, even a flag that can only evaluate to an error, as it does in flagd.
        Raises `DefinitionInvalidError`, `FlagLimitError`, `PreconditionFailedError`.
        """
        await _validate(document)
        environment = await self._environments.get_locked(environment_key)
        check_if_match(if_match, etag_for(environment.version))
        flags = cast("dict[str, JsonObject]", document["flags"])  # as validated
        frame: JsonObject = {name: {} if name == "flags" else value for name, value in document.items()}
        current = await self._definitions.list(environment.id)
        difference = compare(flags, current)
        if difference.is_any or not is_same(frame, environment.frame):
            drawn = await self._environments.draw()
            environment.frame, environment.version = frame, drawn.number
            await self._environments.flush()
            await self._apply(_Import(environment, flags, current, difference, drawn))
        return Imported(difference.result(), etag_for(environment.version))

    async def _apply(self, work: "_Import") -> None:
        known = await self._flags.lock({*work.flags, *work.current})
        added = await self._add_missing(work.flags, known)
        refuse(
            problem
            for key, definition in work.flags.items()
            if key in known and known[key].archived_at is None
            for problem in wrong_variants(
                _variants(definition), known[key].type, pointer=f"/flags/{escape(key)}/variants"
            )
        )
        self._revive(work, known)
        flags = {**known, **added}
        await self._definitions.save(work.environment.id, list(work.placed(flags)))
        await self._definitions.remove(
            work.environment.id, [flags[key].id for key in work.difference.removed]
        )
        archived = await self._archive_orphans(work, flags)
        await self._events.add(*work.events(flags, created=added, archived=archived, actor=self._actor))

    async def _add_missing(
        self, flags: Mapping[str, JsonObject], known: Mapping[str, Flag]
    ) -> Mapping[str, Flag]:
        missing = {key: definition for key, definition in flags.items() if key not in known}
        if not missing:
            return {}
        await self._flags.add_missing(
            NewFlag(key=key, type=_type_of(definition), variants=_variants(definition))
            for key, definition in missing.items()
        )
        if await self._flags.count() > self._limits.max_flags:
            raise FlagLimitError(f"There would be more than {self._limits.max_flags} flags.")
        return await self._flags.lock(missing)

    def _revive(self, work: "_Import", known: Mapping[str, Flag]) -> None:
        """Bring archived flags back, as what the document says they are: nobody else defines them."""
        for key, definition in work.flags.items():
            flag = known.get(key)
            if flag is not None and flag.archived_at is not None:
                flag.archived_at = None
                flag.type, flag.variants = _type_of(definition), _variants(definition)
                flag.revision, flag.updated_at = work.drawn

    async def _archive_orphans(self, work: "_Import", flags: Mapping[str, Flag]) -> list[Flag]:
        removed = [flags[key] for key in work.difference.removed]
        defined = await self._definitions.defined_among([flag.id for flag in removed])
        orphans = [flag for flag in removed if flag.id not in defined]
        for flag in orphans:
            flag.archived_at = work.drawn.at
            flag.revision, flag.updated_at = work.drawn
        await self._flags.flush()
        return orphans


class _Import(NamedTuple):
    """One import on its way into the database."""

    environment: Environment
    flags: Mapping[str, JsonObject]
    current: Mapping[str, Placed]
    difference: Difference
    drawn: Revision

    def placed(self, flags: Mapping[str, Flag]) -> Iterable[Placed]:
        """Return what is to be written: what comes and changes as of now, what only moves as of before."""
        positions = {key: position for position, key in enumerate(self.flags)}
        for key in (*self.difference.created, *self.difference.updated):
            yield Placed(
                flag_id=flags[key].id,
                position=positions[key],
                content=self.flags[key],
                revision=self.drawn.number,
                updated_at=self.drawn.at,
            )
        for key in self.difference.moved:
            yield replace(self.current[key], position=positions[key])

    def events(
        self, flags: Mapping[str, Flag], *, created: Mapping[str, Flag], archived: Iterable[Flag], actor: str
    ) -> Iterable[Event]:
        """Return what there is to tell, the environment last."""
        where = self.environment.key
        for key in (*self.difference.created, *self.difference.updated):
            if key in created:
                yield flag_event("created", flags[key].id, key, actor=actor)
            yield flag_event("updated", flags[key].id, key, actor=actor, environment=where)
        for key in self.difference.removed:
            yield flag_event("archived", flags[key].id, key, actor=actor, environment=where)
        for flag in archived:
            yield flag_event("archived", flag.id, flag.key, actor=actor)
        yield environment_changed(
            "flags", self.environment.id, where, version=self.environment.version, actor=actor
        )


async def _validate(document: JsonObject) -> None:
    """Check a document off the event loop: a large one takes longer than an evaluation may wait."""
    try:
        await asyncio.to_thread(validate_document, document, is_lenient=True)
    except DefinitionError as error:
        raise refused(error) from error


def _variants(definition: JsonObject) -> JsonObject:
    return cast("JsonObject", definition["variants"])  # as validated


def _type_of(definition: JsonObject) -> FlagType:
    first = next(iter(_variants(definition).values()))
    return cast("FlagType", variant_type(first))  # as validated: never None
