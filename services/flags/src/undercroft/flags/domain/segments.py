"""Segments: named conditions, compiled into evaluators. A segment may build on others, though evaluators cannot."""

from collections.abc import Mapping
from typing import Final

from undercroft.flags.domain.evaluation import echo
from undercroft.flags.domain.json_logic import compile_rule
from undercroft.flags.domain.problems import DefinitionError, Problems
from undercroft.flags.domain.rule_reader import read_conditions
from undercroft.flags.domain.rule_targeting import compile_segment
from undercroft.flags.domain.rules import IN_SEGMENT, Condition
from undercroft.flags.domain.work import MalformedRuleError

CONDITIONS: Final = "conditions"


def read_segment(
    definition: Mapping[str, object], known: Mapping[str, object], problems: Problems
) -> tuple[Condition, ...]:
    """Read a segment's conditions; ``known`` are the segments that it may build on."""
    conditions = read_conditions(definition.get(CONDITIONS), f"/{CONDITIONS}", known.keys(), problems)
    if not conditions and not problems.found:
        problems.add(f"/{CONDITIONS}", "a segment has at least one condition", "missing_conditions")
    return conditions


def compile_segments(definitions: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """Compile every segment by its key; raises DefinitionError for a ring and for one that is too large."""
    conditions = {
        key: read_segment(definition, definitions, Problems()) for key, definition in definitions.items()
    }
    compiled: dict[str, object] = {}
    for key in conditions:
        _compile(key, conditions, compiled, ())
    return compiled


def used_by(definition: Mapping[str, object]) -> tuple[str, ...]:
    """Return the segments that a segment builds on itself."""
    conditions = read_conditions(definition.get(CONDITIONS), "", (), Problems())
    names = (value for each in conditions if each.operator == IN_SEGMENT for value in each.values)
    return tuple({str(name): None for name in names})


def _compile(
    key: str,
    conditions: Mapping[str, tuple[Condition, ...]],
    compiled: dict[str, object],
    path: tuple[str, ...],
) -> object:
    if key in compiled:
        return compiled[key]
    if key in path:
        ring = " -> ".join([*path[path.index(key) :], key])
        raise _refusal(f"segments build on one another in a ring: {ring}", "segment_cycle")
    inner = {
        str(name): _compile(str(name), conditions, compiled, (*path, key))
        for condition in conditions[key]
        if condition.operator == IN_SEGMENT
        for name in condition.values
    }
    compiled[key] = compile_segment(conditions[key], inner)
    try:
        compile_rule(compiled[key], flag_key="", evaluators={}, member_sets={})
    except MalformedRuleError as error:
        raise _refusal(f"segment {echo(key)}: {error}", "rule_too_large") from error
    return compiled[key]


def _refusal(detail: str, code: str) -> DefinitionError:
    problems = Problems()
    problems.add(f"/{CONDITIONS}", detail, code)
    return DefinitionError(problems.found)
