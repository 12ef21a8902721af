"""Use case: the state of several flags at once, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from undercroft.flags.errors import BulkChangeError
from undercroft.flags.models import Environment, Flag
from undercroft.flags.repository.changes import Author
from undercroft.flags.repository.definitions import Placed
from undercroft.flags.schemas.flags import BulkChange, BulkResult, StateChange, StateChanged
from undercroft.flags.service.work import Repositories
from undercroft.flags.service.writing import DefinitionWriter, Wanted
from undercroft.shared.errors import FieldProblem, PreconditionFailedError
from undercroft.shared.preconditions import check_if_match, etag_for


class BulkService:
    """Changes several definitions together in the name of an author."""

    def __init__(self, repositories: Repositories, *, author: Author) -> None:
        self._repositories = repositories
        self._writer = DefinitionWriter(repositories, replace(author, origin="bulk"))

    async def change(self, bulk: BulkChange) -> BulkResult:
        """Set every state, or raise `BulkChangeError` with what stands in the way of each."""
        changes = bulk.changes
        environments = await self._repositories.environments.lock({each.environment for each in changes})
        flags = await self._repositories.flags.lock({each.flag for each in changes})
        current = {
            key: await self._repositories.definitions.among(environment.id, flags)
            for key, environment in environments.items()
        }
        _refuse(changes, environments, flags, current)
        written: dict[str, Mapping[str, Placed]] = {}
        for key, environment in environments.items():
            wanted = [
                Wanted(
                    flags[each.flag],
                    {**current[key][each.flag].written, "state": each.state},
                    pointer=f"/changes/{index}",
                )
                for index, each in enumerate(changes)
                if each.environment == key
            ]
            written[key] = await self._writer.write(environment, wanted)
        return BulkResult(
            changes=[
                StateChanged(
                    flag=each.flag,
                    environment=each.environment,
                    state=each.state,
                    etag=etag_for(written[each.environment][each.flag].revision),
                )
                for each in changes
            ]
        )


def _refuse(
    changes: Sequence[StateChange],
    environments: Mapping[str, Environment],
    flags: Mapping[str, Flag],
    current: Mapping[str, Mapping[str, Placed]],
) -> None:
    problems: list[FieldProblem] = []
    seen: set[tuple[str, str]] = set()
    for index, change in enumerate(changes):
        found = _obstacle(change, environments, flags, current)
        if (change.flag, change.environment) in seen:
            found = "another change is about the same", "duplicate_change"
        seen.add((change.flag, change.environment))
        if found is not None:
            problems.append(FieldProblem(f"#/changes/{index}", *found))
    if problems:
        raise BulkChangeError(problems)


def _obstacle(
    change: StateChange,
    environments: Mapping[str, Environment],
    flags: Mapping[str, Flag],
    current: Mapping[str, Mapping[str, Placed]],
) -> tuple[str, str] | None:
    if change.environment not in environments:
        return "there is no such environment", "environment_not_found"
    if change.flag not in flags:
        return "there is no such flag", "flag_not_found"
    if flags[change.flag].archived_at is not None:
        return "the flag is archived", "flag_archived"
    placed = current[change.environment].get(change.flag)
    if placed is None:
        return "the flag is not defined in this environment", "definition_not_found"
    try:
        check_if_match(change.if_match, etag_for(placed.revision))
    except PreconditionFailedError:
        return "the definition is not the one that ifMatch names; read it again", "precondition_failed"
    return None
