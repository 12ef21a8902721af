"""One document on its way into an environment: what is written, recorded and told. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, cast

from undercroft.flags.domain.prerequisites import segments_of
from undercroft.flags.domain.rule_targeting import evaluator_name
from undercroft.flags.domain.validation import variant_type
from undercroft.flags.events import environment_changed, flag_event
from undercroft.flags.models import Environment, Flag
from undercroft.flags.repository.changes import NewChange
from undercroft.flags.repository.definitions import Placed
from undercroft.flags.repository.revisions import Revision
from undercroft.flags.schemas.names import FlagType, JsonObject
from undercroft.flags.service.differences import Difference, is_same
from undercroft.flags.service.flags import attributes_of
from undercroft.shared.events import Event


class Import(NamedTuple):
    """One import on its way into the database.

    ``detached`` are the flags that are evaluated as before and no longer follow the rules they were written by.
    """

    environment: Environment
    flags: Mapping[str, JsonObject]
    current: Mapping[str, Placed]
    difference: Difference
    drawn: Revision
    detached: frozenset[str]
    segments: Collection[str]

    def placed(self, flags: Mapping[str, Flag]) -> Iterable[Placed]:
        """Return what is to be written: what comes and changes as of now, what only moves as of before."""
        positions = {key: position for position, key in enumerate(self.flags)}
        for key in (*self.difference.created, *self.difference.updated, *self.detached):
            yield Placed(
                flag_id=flags[key].id,
                position=positions[key],
                content=self.flags[key],
                segments=tuple(
                    name for name in segments_of(self.flags[key].get("targeting")) if name in self.segments
                ),
                revision=self.drawn.number,
                updated_at=self.drawn.at,
            )
        for key in self.difference.moved:
            if key not in self.detached:
                yield replace(self.current[key], position=positions[key])

    def changes_of_flags(
        self, flags: Mapping[str, Flag], before: Mapping[str, JsonObject]
    ) -> Iterable[NewChange]:
        """Return what became of the flags themselves: new, back, or archived."""
        for key, flag in flags.items():
            after = attributes_of(flag)
            if key not in before or not is_same(before[key], after):
                yield NewChange(flag_id=flag.id, before=before.get(key), after=after)

    def changes_of_definitions(self, flags: Mapping[str, Flag]) -> Iterable[NewChange]:
        """Return what became of the definitions; to have another place is no change."""
        keys = (*self.difference.created, *self.difference.updated, *self.detached, *self.difference.removed)
        for key in keys:
            current = self.current.get(key)
            yield NewChange(
                flag_id=flags[key].id,
                environment=self.environment.key,
                before=None if current is None else current.written,
                after=self.flags.get(key),
            )

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


def detached_by(
    difference: Difference,
    flags: Mapping[str, JsonObject],
    current: Mapping[str, Placed],
    evaluators: JsonObject,
    segments: Mapping[str, object],
) -> frozenset[str]:
    """Return the flags by rules whose rules no longer say what the document does, though it says the same of them.

    What they are compiled from has changed: a prerequisite is another, or a segment's evaluator is missing.
    """
    kept = {key: current[key] for key in flags if key in current and key not in difference.updated}
    return frozenset(
        key
        for key, placed in kept.items()
        if placed.source is not None
        and not (
            all(other in kept for other in placed.requires)
            and all(evaluator_name(name) in evaluators for name in placed.segments if name in segments)
        )
    )


def variants_of(definition: JsonObject) -> JsonObject:
    """Return the variants of a validated definition."""
    return cast("JsonObject", definition["variants"])


def type_of(definition: JsonObject) -> FlagType:
    """Return the flag type of a validated definition: that of its first variant."""
    first = next(iter(variants_of(definition).values()))
    return cast("FlagType", variant_type(first))
