"""Use case: definitions of one environment become those of another."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from undercroft.flags.domain.json_patch import difference
from undercroft.flags.domain.prerequisites import references_of
from undercroft.flags.domain.problems import Problem
from undercroft.flags.domain.rule_targeting import SEGMENT_PREFIX
from undercroft.flags.models import Environment
from undercroft.flags.repository.changes import Author
from undercroft.flags.repository.definitions import Placed
from undercroft.flags.schemas.changes import PatchOperation
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.schemas.promotions import PromotedChange, PromotionCreate, PromotionResult
from undercroft.flags.service.checks import refuse
from undercroft.flags.service.differences import is_same
from undercroft.flags.service.plans import evaluators_of
from undercroft.flags.service.work import Repositories
from undercroft.flags.service.writing import DefinitionWriter, Wanted
from undercroft.shared.preconditions import check_if_match, etag_for


class Promoted(NamedTuple):
    """What a promotion did or would do, and the target's ETag with which it can be asked to do just that."""

    result: PromotionResult
    etag: str


class PromotionService:
    """Copies definitions in the name of an author."""

    def __init__(self, repositories: Repositories, *, author: Author) -> None:
        self._repositories = repositories
        self._writer = DefinitionWriter(repositories, replace(author, origin="promotion"))

    async def promote(self, target_key: str, wanted: PromotionCreate, *, if_match: str | None) -> Promoted:
        """Copy definitions as they are written; what only the target has stays.

        `if_match` is compared with the ETag that a preview answered, which is that of the target's document. Raises
        `DefinitionInvalidError`, `PreconditionFailedError`.
        """
        source = await self._repositories.environments.get(wanted.source)
        target = await self._repositories.environments.get(target_key)
        locked = await self._repositories.environments.lock({source.key, target.key})
        source, target = locked[source.key], locked[target.key]
        check_if_match(if_match, etag_for(target.version))
        available = await self._repositories.definitions.list(source.id)
        keys = list(available) if wanted.flags is None else wanted.flags
        refuse(
            Problem(f"/flags/{index}", f"{key} is not defined in {source.key}", "definition_not_found")
            for index, key in enumerate(keys)
            if key not in available
        )
        current = await self._repositories.definitions.list(target.id)
        changed = [
            key
            for key in keys
            if key not in current or not is_same(current[key].written, available[key].written)
        ]
        evaluators = _evaluators_for(source, target, {key: available[key] for key in changed})
        if changed and not wanted.preview:
            await self._apply(target, changed, available, evaluators)
        result = PromotionResult(
            applied=bool(changed) and not wanted.preview,
            changes=[_change(key, current.get(key), available[key]) for key in changed],
            evaluators=sorted(evaluators),
        )
        return Promoted(result, etag_for(target.version))

    async def _apply(
        self,
        target: Environment,
        changed: list[str],
        available: Mapping[str, Placed],
        evaluators: JsonObject,
    ) -> None:
        if evaluators:
            known = evaluators_of(target.frame)
            target.frame = {**target.frame, "$evaluators": {**known, **evaluators}}
        flags = await self._repositories.flags.lock(changed)
        wanted = [
            Wanted(flags[key], available[key].written, pointer=f"/flags/{index}")
            for index, key in enumerate(changed)
        ]
        await self._writer.write(target, wanted)


def _evaluators_for(
    source: Environment, target: Environment, definitions: Mapping[str, Placed]
) -> JsonObject:
    """Return the evaluators that must come along; refuse one that the target has with another meaning."""
    given, known = evaluators_of(source.frame), evaluators_of(target.frame)
    needed: JsonObject = {}
    problems: list[Problem] = []
    for key, placed in definitions.items():
        for name in references_of(placed.content.get("targeting")):
            if name.startswith(SEGMENT_PREFIX) or name not in given:
                continue
            if name not in known:
                needed[name] = given[name]
            elif not is_same(known[name], given[name]):
                detail = f"{key} uses the evaluator {name}, which is another in {target.key}"
                problems.append(Problem("/source", detail, "evaluator_differs"))
    refuse(problems)
    return needed


def _change(key: str, current: Placed | None, wanted: Placed) -> PromotedChange:
    before: JsonObject = {} if current is None else current.written
    return PromotedChange(
        flag=key,
        kind="created" if current is None else "updated",
        diff=[PatchOperation.model_validate(each) for each in difference(before, wanted.written)],
    )
