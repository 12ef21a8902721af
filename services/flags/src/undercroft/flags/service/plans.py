"""Which definitions of an environment a change compiles, in which order, and what comes out. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from undercroft.flags.domain.authoring import (
    Absence,
    Surroundings,
    compile_source,
    is_by_rules,
    required_flags,
)
from undercroft.flags.domain.prerequisites import CycleError, affected, segments_of
from undercroft.flags.domain.problems import DefinitionError, Problem
from undercroft.flags.domain.rule_targeting import evaluator_name
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.service.checks import refuse
from undercroft.shared.serialization import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A definition as written and as evaluated, and what it is made from."""

    source: JsonObject
    content: JsonObject
    requires: tuple[str, ...]
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A change to an environment: the definitions that people wrote, and those that follow from them.

    ``wanted`` are the new ones, ``dependents`` the written ones that have prerequisites; ``pointers`` tell where in
    the request each of the wanted ones stands.
    """

    wanted: Mapping[str, JsonObject]
    dependents: Mapping[str, JsonObject]
    pointers: Mapping[str, str]

    @property
    def order(self) -> tuple[str, ...]:
        """The keys to compile, each after its prerequisites; raises `DefinitionInvalidError` for a ring."""
        requires = {key: required_flags(source) for key, source in self.dependents.items()}
        requires |= {
            key: required_flags(source) if is_by_rules(source) else () for key, source in self.wanted.items()
        }
        try:
            return affected(self.wanted, requires).keys
        except CycleError as error:
            at = next(self.pointers.get(key, "") for key in error.keys if key in self.wanted)
            detail = f"flags require one another in a ring: {error}"
            refuse([Problem(f"{at}/prerequisites", detail, "prerequisite_cycle")])
            raise

    @property
    def required(self) -> set[str]:
        """The flags whose definitions are needed as they are."""
        return {other for key in self.order for other in required_flags(self._source(key))} - {*self.order}

    def compile(self, around: Surroundings) -> Mapping[str, Compiled]:
        """Compile everything; raises `DefinitionInvalidError` with what is wrong in any of them."""
        flags: dict[str, Mapping[str, object] | Absence] = dict(around.flags)
        evaluators = Surroundings(evaluators=around.evaluators, segments=around.segments, flags=flags)
        compiled: dict[str, Compiled] = {}
        problems: list[Problem] = []
        for key in self.order:
            source = self._source(key)
            try:
                content, requires = compile_source(key, source, evaluators)
            except DefinitionError as error:
                problems += self._placed(key, error)
                flags[key] = Absence.UNDEFINED
                continue
            flags[key] = content
            compiled[key] = Compiled(
                source=source,
                content=cast("JsonObject", content),  # compiled from JSON into JSON
                requires=requires,
                segments=tuple(
                    name for name in segments_of(content.get("targeting")) if name in around.segments
                ),
            )
        refuse(problems)
        return compiled

    def _source(self, key: str) -> JsonObject:
        return self.wanted[key] if key in self.wanted else self.dependents[key]

    def _placed(self, key: str, error: DefinitionError) -> list[Problem]:
        """Point into the request; what a dependent flag suffers is the fault of what it requires."""
        if key in self.wanted:
            at = self.pointers.get(key, "")
            return [each._replace(pointer=at + each.pointer) for each in error.problems]
        at = next((self.pointers.get(other, "") for other in self.wanted), "")
        return [
            Problem(at, f"{key}, which requires this flag, would be wrong: {each.detail}", each.code)
            for each in error.problems
        ]


def with_segments(frame: JsonObject, names: set[str], segments: Mapping[str, object]) -> JsonObject:
    """Return a document's frame that has the evaluators of these segments as they are now."""
    given = frame.get("$evaluators")
    evaluators = dict(given) if isinstance(given, dict) else {}
    for name in sorted(names):
        evaluators[evaluator_name(name)] = cast("JsonValue", segments[name])  # compiled from JSON into JSON
    return {**frame, "$evaluators": evaluators} if evaluators else frame


def evaluators_of(frame: JsonObject) -> JsonObject:
    """Return the evaluators of a document's frame."""
    evaluators = frame.get("$evaluators")
    return evaluators if isinstance(evaluators, dict) else {}
