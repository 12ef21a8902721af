"""Use cases of an environment's whole flagd document: export and import, without loss."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, cast

from undercroft.flags.domain.problems import DefinitionError, Problem
from undercroft.flags.domain.rule_checks import escape
from undercroft.flags.domain.rule_targeting import evaluator_name
from undercroft.flags.domain.segments import compile_segments
from undercroft.flags.domain.validation import validate_document
from undercroft.flags.errors import FlagLimitError
from undercroft.flags.models import Flag
from undercroft.flags.repository.changes import Author
from undercroft.flags.repository.flags import NewFlag
from undercroft.flags.schemas.environments import DocumentResult
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.service.checks import refuse, refused, wrong_variants
from undercroft.flags.service.definitions import Tagged
from undercroft.flags.service.differences import compare, is_same
from undercroft.flags.service.document_import import Import, detached_by, type_of, variants_of
from undercroft.flags.service.flags import attributes_of
from undercroft.flags.service.plans import evaluators_of
from undercroft.flags.service.work import Limits, Repositories
from undercroft.shared.preconditions import check_if_match, etag_for


class Imported(NamedTuple):
    """What an import did, and the document's ETag after it."""

    result: DocumentResult
    etag: str


class DocumentService:
    """Gives out and replaces everything that an environment evaluates."""

    def __init__(self, repositories: Repositories, *, author: Author, limits: Limits) -> None:
        self._environments = repositories.environments
        self._flags = repositories.flags
        self._definitions = repositories.definitions
        self._segments = repositories.segments
        self._changes = repositories.changes
        self._events = repositories.events
        self._author = author
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
        segments = await self._compiled_segments(frame)
        difference = compare(flags, current)
        detached = detached_by(difference, flags, current, evaluators_of(frame), segments)
        if difference.is_any or detached or not is_same(frame, environment.frame):
            drawn = await self._environments.draw()
            environment.frame, environment.version = frame, drawn.number
            await self._environments.flush()
            await self._apply(Import(environment, flags, current, difference, drawn, detached, {*segments}))
        return Imported(difference.result(), etag_for(environment.version))

    async def _compiled_segments(self, frame: JsonObject) -> Mapping[str, object]:
        """Return the compiled segments; refuse an evaluator of a segment's name that says something else."""
        stored = await self._segments.all()
        segments = compile_segments({key: segment.definition for key, segment in stored.items()})
        evaluators = evaluators_of(frame)
        refuse(
            Problem(
                f"/$evaluators/{escape(evaluator_name(key))}",
                f"the segment {key} says something else: change the segment, or rename the evaluator",
                "segment_differs",
            )
            for key, rule in segments.items()
            if evaluator_name(key) in evaluators and not is_same(evaluators[evaluator_name(key)], rule)
        )
        return segments

    async def _apply(self, work: Import) -> None:
        known = await self._flags.lock({*work.flags, *work.current})
        before = {key: attributes_of(flag) for key, flag in known.items()}
        added = await self._add_missing(work.flags, known)
        refuse(
            problem
            for key, definition in work.flags.items()
            if key in known and known[key].archived_at is None
            for problem in wrong_variants(
                variants_of(definition), known[key].type, pointer=f"/flags/{escape(key)}/variants"
            )
        )
        self._revive(work, known)
        flags = {**known, **added}
        await self._definitions.save(work.environment.id, list(work.placed(flags)))
        await self._definitions.remove(
            work.environment.id, [flags[key].id for key in work.difference.removed]
        )
        archived = await self._archive_orphans(work, flags)
        changes = [*work.changes_of_flags(flags, before), *work.changes_of_definitions(flags)]
        await self._changes.add(replace(self._author, origin="import"), changes)
        actor = self._author.actor
        await self._events.add(*work.events(flags, created=added, archived=archived, actor=actor))

    async def _add_missing(
        self, flags: Mapping[str, JsonObject], known: Mapping[str, Flag]
    ) -> Mapping[str, Flag]:
        missing = {key: definition for key, definition in flags.items() if key not in known}
        if not missing:
            return {}
        await self._flags.add_missing(
            NewFlag(key=key, type=type_of(definition), variants=variants_of(definition))
            for key, definition in missing.items()
        )
        if await self._flags.count() > self._limits.max_flags:
            raise FlagLimitError(f"There would be more than {self._limits.max_flags} flags.")
        return await self._flags.lock(missing)

    def _revive(self, work: Import, known: Mapping[str, Flag]) -> None:
        """Bring archived flags back, as what the document says they are: nobody else defines them."""
        for key, definition in work.flags.items():
            flag = known.get(key)
            if flag is not None and flag.archived_at is not None:
                flag.archived_at = None
                flag.type, flag.variants = type_of(definition), variants_of(definition)
                flag.revision, flag.updated_at = work.drawn

    async def _archive_orphans(self, work: Import, flags: Mapping[str, Flag]) -> list[Flag]:
        removed = [flags[key] for key in work.difference.removed]
        defined = await self._definitions.defined_among([flag.id for flag in removed])
        orphans = [flag for flag in removed if flag.id not in defined]
        for flag in orphans:
            flag.archived_at = work.drawn.at
            flag.revision, flag.updated_at = work.drawn
        await self._flags.flush()
        return orphans


async def _validate(document: JsonObject) -> None:
    """Check a document off the event loop: a large one takes longer than an evaluation may wait."""
    try:
        await asyncio.to_thread(validate_document, document, is_lenient=True)
    except DefinitionError as error:
        raise refused(error) from error
