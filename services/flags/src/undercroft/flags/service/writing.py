"""Writes definitions: compiled with whatever depends on them, recorded, told. The one way into an environment.

A whole document is the exception (`documents`): it comes compiled.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from undercroft.flags.domain.authoring import Absence, Surroundings, is_by_rules
from undercroft.flags.domain.segments import compile_segments
from undercroft.flags.errors import FlagRequiredError
from undercroft.flags.events import environment_changed, flag_event
from undercroft.flags.models import Environment, Flag
from undercroft.flags.repository.changes import Author, NewChange
from undercroft.flags.repository.definitions import Placed
from undercroft.flags.repository.revisions import Revision
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.service.checks import refuse, wrong_variants
from undercroft.flags.service.differences import is_same
from undercroft.flags.service.plans import Compiled, Plan, evaluators_of, with_segments
from undercroft.flags.service.work import Repositories


class Wanted(NamedTuple):
    """A definition that somebody wrote, complete with variants, and where it stands in the request."""

    flag: Flag
    source: JsonObject
    pointer: str = ""


class DefinitionWriter:
    """Changes environments that the caller has locked, in the name of an author."""

    def __init__(self, repositories: Repositories, author: Author) -> None:
        self._repositories = repositories
        self._author = author

    async def write(self, environment: Environment, wanted: Sequence[Wanted]) -> Mapping[str, Placed]:
        """Store definitions and return them by key; what is the same already stays untouched.

        Raises `DefinitionInvalidError` with pointers into the request.
        """
        current = await self._repositories.definitions.among(
            environment.id, [each.flag.key for each in wanted]
        )
        changed = [each for each in wanted if not _is_same(current.get(each.flag.key), each.source)]
        if not changed:
            return current
        refuse(
            problem
            for each in changed
            if isinstance(variants := each.source.get("variants"), dict)
            for problem in wrong_variants(variants, each.flag.type, pointer=f"{each.pointer}/variants")
        )
        return {**current, **await self._apply(environment, changed, current)}

    async def recompile(self, environment: Environment, flag: Flag) -> None:
        """Compile a definition again that was left alone while its flag was archived."""
        current = await self._repositories.definitions.among(environment.id, [flag.key])
        placed = current[flag.key]
        if placed.requires:
            await self._apply(environment, [Wanted(flag, placed.written)], current, is_recorded=False)

    async def remove(self, environment: Environment, flag: Flag) -> None:
        """Take a flag out of an environment; raises `FlagRequiredError` when another one there requires it."""
        dependents = await self._repositories.definitions.dependents_of(flag.key)
        users = [key for where, key in dependents if where == environment.key]
        if users:
            raise FlagRequiredError(f"{', '.join(users)} require {flag.key} in {environment.key}.")
        current = await self._repositories.definitions.among(environment.id, [flag.key])
        if flag.key not in current:
            return
        environment.version, _ = await self._repositories.environments.draw()
        await self._repositories.environments.flush()
        await self._repositories.definitions.remove(environment.id, [flag.id])
        before = current[flag.key].written
        await self._record(
            [NewChange(flag_id=flag.id, environment=environment.key, before=before, after=None)]
        )
        await self._tell_environment(environment, removed=flag)

    async def _apply(
        self,
        environment: Environment,
        changed: Sequence[Wanted],
        current: Mapping[str, Placed],
        *,
        is_recorded: bool = True,
    ) -> Mapping[str, Placed]:
        dependents = await self._repositories.definitions.dependent(environment.id)
        plan = Plan(
            wanted={each.flag.key: each.source for each in changed},
            dependents={key: placed.written for key, placed in dependents.items()},
            pointers={each.flag.key: each.pointer for each in changed},
        )
        around = await self._surroundings(environment, plan.required)
        compiled = await asyncio.to_thread(plan.compile, around)
        used = {name for each in compiled.values() for name in each.segments}
        drawn = await self._repositories.environments.draw()
        environment.version = drawn.number
        frame = with_segments(environment.frame, used, around.segments)
        if not is_same(frame, environment.frame):
            environment.frame = frame
        await self._repositories.environments.flush()
        flags = {each.flag.key: each.flag for each in changed}
        position = await self._repositories.definitions.next_position(environment.id)
        placed: dict[str, Placed] = {}
        for key, each in compiled.items():
            if key not in flags:
                placed[key] = replace(dependents[key], content=each.content, segments=each.segments)
                continue
            known = current.get(key)
            placed[key] = _place(flags[key], each, position if known is None else known.position, drawn)
            position += known is None
        await self._repositories.definitions.save(environment.id, list(placed.values()))
        if is_recorded:
            await self._record(
                [
                    NewChange(
                        flag_id=flag.id,
                        environment=environment.key,
                        before=current[key].written if key in current else None,
                        after=compiled[key].source,
                    )
                    for key, flag in flags.items()
                ]
            )
            await self._tell_environment(environment, updated=list(flags.values()))
        return placed

    async def _surroundings(self, environment: Environment, required: set[str]) -> Surroundings:
        segments = await self._repositories.segments.all()
        flags: dict[str, Mapping[str, object] | Absence] = {}
        if required:
            archived = await self._repositories.flags.archived_among(required)
            definitions = await self._repositories.definitions.among(environment.id, required)
            for key, is_archived in archived.items():
                absence = Absence.ARCHIVED if is_archived else Absence.UNDEFINED
                is_usable = key in definitions and not is_archived
                flags[key] = definitions[key].content if is_usable else absence
        return Surroundings(
            evaluators=evaluators_of(environment.frame),
            segments=compile_segments({key: segment.definition for key, segment in segments.items()}),
            flags=flags,
        )

    async def _record(self, changes: Sequence[NewChange]) -> None:
        await self._repositories.changes.add(self._author, changes)

    async def _tell_environment(
        self, environment: Environment, *, updated: Sequence[Flag] = (), removed: Flag | None = None
    ) -> None:
        actor, where = self._author.actor, environment.key
        events = [
            flag_event("updated", flag.id, flag.key, actor=actor, environment=where) for flag in updated
        ]
        if removed is not None:
            events.append(flag_event("archived", removed.id, removed.key, actor=actor, environment=where))
        changed = environment_changed(
            "flags", environment.id, where, version=environment.version, actor=actor
        )
        await self._repositories.events.add(*events, changed)


def _place(flag: Flag, compiled: Compiled, position: int, drawn: Revision) -> Placed:
    return Placed(
        flag_id=flag.id,
        position=position,
        content=compiled.content,
        source=compiled.source if is_by_rules(compiled.source) else None,
        requires=compiled.requires,
        segments=compiled.segments,
        revision=drawn.number,
        updated_at=drawn.at,
    )


def _is_same(current: Placed | None, source: JsonObject) -> bool:
    return current is not None and is_same(current.written, source)
