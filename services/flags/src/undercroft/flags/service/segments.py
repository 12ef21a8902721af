"""Use cases of segments. A change of one is a change of every environment that has it, in the same transaction."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from undercroft.flags.domain.json_logic import compile_rule
from undercroft.flags.domain.problems import DefinitionError, Problem, Problems
from undercroft.flags.domain.rule_targeting import evaluator_name
from undercroft.flags.domain.segments import CONDITIONS, compile_segments, read_segment, used_by
from undercroft.flags.domain.work import MalformedRuleError
from undercroft.flags.errors import EvaluatorExistsError, SegmentInUseError, SegmentLimitError
from undercroft.flags.events import SegmentHappening, environment_changed, segment_event
from undercroft.flags.models import Environment, Segment
from undercroft.flags.repository.changes import Author, NewChange
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.schemas.segments import SegmentCreate, SegmentUpdate
from undercroft.flags.service.checks import refuse, refused
from undercroft.flags.service.differences import is_same
from undercroft.flags.service.plans import evaluators_of, with_segments
from undercroft.flags.service.work import Limits, Repositories
from undercroft.shared.preconditions import check_if_match, etag_for


class Uses(NamedTuple):
    """The environments and flags, and the segments, that refer to a segment."""

    flags: list[tuple[str, str]]
    segments: list[str]


class SegmentService:
    """Creates, changes and deletes segments in the name of an author."""

    def __init__(self, repositories: Repositories, *, author: Author, limits: Limits) -> None:
        self._environments = repositories.environments
        self._definitions = repositories.definitions
        self._segments = repositories.segments
        self._changes = repositories.changes
        self._events = repositories.events
        self._author = author
        self._limits = limits

    async def create(self, new: SegmentCreate) -> Segment:
        """Add a segment; environments get it with the first flag that uses it there.

        Raises `DefinitionInvalidError`, `SegmentExistsError`, `SegmentLimitError`, `EvaluatorExistsError`.
        """
        environments = await self._environments.lock_all()
        if await self._segments.count() >= self._limits.max_segments:
            raise SegmentLimitError(f"There are {self._limits.max_segments} segments already.")
        definition: JsonObject = {CONDITIONS: new.conditions}
        compiled = await self._compiled(new.key, definition)
        _check_evaluators(environments, new.key, compiled[new.key])
        segment = await self._segments.add(
            new.key, name=new.name or new.key, description=new.description, definition=definition
        )
        await self._record(segment, "created", before=None)
        return segment

    async def update(self, key: str, change: SegmentUpdate, *, if_match: str | None) -> Segment:
        """Change the given attributes; new conditions hold at once, in all environments.

        Raises `DefinitionInvalidError`, also when a flag would grow beyond what may be evaluated.
        """
        environments = await self._environments.lock_all()
        segment = await self._found(key, if_match)
        wanted = change.model_dump(exclude_unset=True, by_alias=False)
        conditions = wanted.pop(CONDITIONS, None)
        if conditions is not None and not is_same(segment.definition, {CONDITIONS: conditions}):
            wanted["definition"] = {CONDITIONS: conditions}
        wanted = {
            name: value
            for name, value in wanted.items()
            if getattr(segment, name) != value or name == "definition"
        }
        if not wanted:
            return segment
        before = attributes_of(segment)
        if "definition" in wanted:
            await self._spread(environments, await self._compiled(key, wanted["definition"]))
        for name, value in wanted.items():
            setattr(segment, name, value)
        segment.revision, segment.updated_at = await self._segments.draw()
        await self._segments.flush()
        await self._record(segment, "updated", before=before)
        return segment

    async def delete(self, key: str, *, if_match: str | None) -> None:
        """Remove a segment; raises `SegmentInUseError` while a flag or another segment refers to it."""
        environments = await self._environments.lock_all()
        segment = await self._found(key, if_match)
        uses = await self.uses(key)
        if uses.flags or uses.segments:
            named = [f"{flag} in {where}" for where, flag in uses.flags[:10]]
            named += [f"the segment {name}" for name in uses.segments[:10]]
            raise SegmentInUseError(f"{key} is used by {', '.join(named)}.")
        for environment in environments:
            evaluators = dict(evaluators_of(environment.frame))
            if evaluators.pop(evaluator_name(key), None) is not None:
                await self._replace(environment, evaluators)
        await self._record(segment, "deleted", before=attributes_of(segment))
        await self._segments.remove(segment)

    async def uses(self, key: str) -> Uses:
        """Return who refers to a segment; raises `SegmentNotFoundError`."""
        await self._segments.get(key)
        segments = await self._segments.all()
        users = [name for name, other in segments.items() if key in used_by(other.definition)]
        return Uses(list(await self._definitions.users_of(key)), users)

    async def _found(self, key: str, if_match: str | None) -> Segment:
        segment = await self._segments.get(key)
        check_if_match(if_match, etag_for(segment.revision))
        return segment

    async def _compiled(self, key: str, definition: JsonObject) -> Mapping[str, object]:
        """Compile all segments with this one as it shall be."""
        stored = await self._segments.all()
        definitions = {name: other.definition for name, other in stored.items()} | {key: definition}
        problems = Problems()
        read_segment(definition, dict.fromkeys(definitions), problems)
        refuse(problems.found)
        try:
            return compile_segments(definitions)
        except DefinitionError as error:
            raise refused(error) from error

    async def _spread(self, environments: Iterable[Environment], compiled: Mapping[str, object]) -> None:
        for environment in environments:
            evaluators = evaluators_of(environment.frame)
            present = {name for name in compiled if evaluator_name(name) in evaluators}
            frame = with_segments(environment.frame, present, compiled)
            if is_same(frame, environment.frame):
                continue
            changed = {
                name for name in present if not is_same(evaluators[evaluator_name(name)], compiled[name])
            }
            placed = await self._definitions.referring(environment.id, changed)
            targetings = {key: each.content.get("targeting") for key, each in placed.items()}
            problems = await asyncio.to_thread(_too_large, targetings, evaluators_of(frame), environment.key)
            refuse(problems)
            await self._replace(environment, evaluators_of(frame))

    async def _replace(self, environment: Environment, evaluators: JsonObject) -> None:
        environment.frame = {**environment.frame, "$evaluators": evaluators}
        environment.version, _ = await self._environments.draw()
        await self._environments.flush()
        await self._events.add(
            environment_changed(
                "flags",
                environment.id,
                environment.key,
                version=environment.version,
                actor=self._author.actor,
            )
        )

    async def _record(
        self, segment: Segment, happening: SegmentHappening, *, before: JsonObject | None
    ) -> None:
        after = None if happening == "deleted" else attributes_of(segment)
        await self._changes.add(self._author, [NewChange(segment=segment.key, before=before, after=after)])
        await self._events.add(segment_event(happening, segment.id, segment.key, actor=self._author.actor))


def attributes_of(segment: Segment) -> JsonObject:
    """Return what the history keeps of a segment."""
    return {"name": segment.name, "description": segment.description, **segment.definition}


def _check_evaluators(environments: Iterable[Environment], key: str, compiled: object) -> None:
    name = evaluator_name(key)
    for environment in environments:
        evaluators = evaluators_of(environment.frame)
        if name in evaluators and not is_same(evaluators[name], compiled):
            detail = f"A document imported into {environment.key} has another evaluator {name}."
            raise EvaluatorExistsError(detail)


def _too_large(targetings: Mapping[str, object], evaluators: JsonObject, where: str) -> list[Problem]:
    """Return the flags that could no longer be evaluated within their limits."""
    problems: list[Problem] = []
    for key, targeting in targetings.items():
        try:
            compile_rule(targeting, flag_key=key, evaluators=evaluators, member_sets={})
        except MalformedRuleError as error:
            detail = f"{key} in {where} would be too large: {error}"
            problems.append(Problem(f"/{CONDITIONS}", detail, "rule_too_large"))
    return problems
