"""Turns a definition as somebody wrote it, by rules or in flagd's own language, into the one that is evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from undercroft.flags.domain.evaluation import echo
from undercroft.flags.domain.prerequisites import is_inlinable, requirement
from undercroft.flags.domain.problems import DefinitionError, Problem, Problems
from undercroft.flags.domain.rule_reader import RULE_MEMBERS, Vocabulary, read_rule_set
from undercroft.flags.domain.rule_targeting import compile_rules, evaluator_name
from undercroft.flags.domain.rules import Prerequisite, RuleSet
from undercroft.flags.domain.validation import validate_flag


class Absence(Enum):
    """Why another flag cannot be a prerequisite."""

    UNKNOWN = "unknown_prerequisite"
    ARCHIVED = "archived_prerequisite"
    UNDEFINED = "undefined_prerequisite"


_ABSENCES: Final = {
    Absence.UNKNOWN: "there is no flag {}",
    Absence.ARCHIVED: "{} is archived",
    Absence.UNDEFINED: "{} is not defined in this environment",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an environment has for a definition: evaluators, compiled segments by key, and compiled other flags."""

    evaluators: Mapping[str, object]
    segments: Mapping[str, object]
    flags: Mapping[str, "Mapping[str, object] | Absence"]

    @property
    def all_evaluators(self) -> Mapping[str, object]:
        """The environment's evaluators, and those that it gets when a segment is used."""
        return {
            **self.evaluators,
            **{evaluator_name(key): rule for key, rule in self.segments.items()},
        }


class Authored(NamedTuple):
    """A compiled definition, and the flags that are its prerequisites."""

    content: dict[str, object]
    requires: tuple[str, ...]


def is_by_rules(source: Mapping[str, object]) -> bool:
    """Tell whether a definition is written by rules."""
    return any(member in source for member in RULE_MEMBERS)


def required_flags(source: Mapping[str, object]) -> tuple[str, ...]:
    """Return the flags that a definition names as prerequisites, however wrong the rest of it is."""
    given = source.get("prerequisites")
    if not isinstance(given, list):
        return ()
    names = (each.get("flag") for each in given if isinstance(each, dict))
    return tuple({name: None for name in names if isinstance(name, str)})


def compile_source(key: str, source: Mapping[str, object], around: Surroundings) -> Authored:
    """Compile a definition; raises DefinitionError with pointers into the source."""
    if not is_by_rules(source):
        validate_flag(key, dict(source), around.all_evaluators)
        return Authored(dict(source), ())
    content = {name: value for name, value in source.items() if name not in RULE_MEMBERS}
    problems = Problems()
    if "targeting" in content:
        problems.add("/targeting", "a definition by rules has no targeting of its own", "conflicting_members")
    rules, tests = read_rules(key, source, around, problems)
    found = (*_plain_problems(key, {**content, "targeting": None}), *problems.found)
    if found:
        raise DefinitionError(found)
    targeting = compile_rules(key, rules, tests)
    if targeting is not None:
        content["targeting"] = targeting
    try:
        validate_flag(key, content, around.all_evaluators)
    except DefinitionError as error:
        raise DefinitionError(tuple(_of_rules(problem) for problem in error.problems)) from error
    return Authored(content, required_flags(source))


def read_rules(
    key: str, source: Mapping[str, object], around: Surroundings, problems: Problems
) -> tuple[RuleSet, list[object]]:
    """Read the rules of a definition, and the compiled tests of its prerequisites."""
    variants = source.get("variants")
    names = variants.keys() if isinstance(variants, dict) else ()
    rules = read_rule_set(source, Vocabulary(names, around.segments.keys()), problems)
    tests = [
        _requirement(key, prerequisite, f"/prerequisites/{index}", around, problems)
        for index, prerequisite in enumerate(rules.prerequisites)
    ]
    return rules, tests


def _requirement(
    key: str, prerequisite: Prerequisite, pointer: str, around: Surroundings, problems: Problems
) -> object:
    other = prerequisite.flag
    definition = around.flags.get(other, Absence.UNKNOWN)
    if other == key:
        problems.add(f"{pointer}/flag", "a flag cannot be its own prerequisite", "prerequisite_cycle")
        return False
    if isinstance(definition, Absence):
        problems.add(f"{pointer}/flag", _ABSENCES[definition].format(echo(other)), definition.value)
        return False
    if not is_inlinable(definition, around.all_evaluators):
        detail = f"the targeting of {echo(other)} depends on its own key and cannot be part of another flag"
        problems.add(f"{pointer}/flag", detail, "unusable_prerequisite")
    variants = definition.get("variants")
    for index, name in enumerate(prerequisite.variants):
        if not isinstance(variants, dict) or name not in variants:
            detail = f"{echo(other)} has no variant {echo(name)}"
            problems.add(f"{pointer}/variants/{index}", detail, "unknown_variant")
    return requirement(definition, prerequisite.variants)


def _plain_problems(key: str, content: Mapping[str, object]) -> tuple[Problem, ...]:
    try:
        validate_flag(key, dict(content), {})
    except DefinitionError as error:
        return error.problems
    return ()


def _of_rules(problem: Problem) -> Problem:
    """Point at the rules: what is wrong with their targeting (its size) has no narrower place."""
    is_inside = problem.pointer.startswith("/targeting")
    return problem._replace(pointer="/rules") if is_inside else problem
