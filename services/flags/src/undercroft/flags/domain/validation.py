"""Strict checks of flag documents for the write path: everything wrong at once, each with its JSON pointer.

A lenient check accepts what flagd loads and evaluates to an error or a default (``TOLERATED_ON_IMPORT``), so that a
document can be imported whole; what flagd refuses, and what this service cannot serve, is refused in both.
"""

import re
from collections.abc import Mapping
from typing import Final

import orjson

from undercroft.flags.domain.definition import STATES
from undercroft.flags.domain.evaluation import echo
from undercroft.flags.domain.problems import TOLERATED_ON_IMPORT, Problems
from undercroft.flags.domain.rule_checks import RuleContext, check_rule, escape

MAX_FLAGS: Final = 20_000
MAX_EVALUATORS: Final = 2_000
MAX_VARIANTS: Final = 200
MAX_METADATA: Final = 100
MAX_NAME_LENGTH: Final = 256
MAX_DEFINITION_BYTES: Final = 256 * 1024
FLAG_KEY: Final = re.compile(r"[a-z0-9A-Z._-]{1,128}")

_FLAG_MEMBERS: Final = frozenset({"state", "variants", "defaultVariant", "targeting", "metadata"})
_INTERNAL_FLAG_MEMBERS: Final = frozenset({"source", "selector"})
_DOCUMENT_MEMBERS: Final = frozenset({"$schema", "flags", "$evaluators", "metadata"})


def validate_flag(
    key: str, definition: object, evaluators: Mapping[str, object], *, is_lenient: bool = False
) -> None:
    """Check one definition; raises DefinitionError with pointers relative to the definition."""
    problems = _problems(is_lenient=is_lenient)
    _check_flag(key, definition, evaluators, "", problems, is_lenient=is_lenient)
    problems.raise_any()


def validate_document(document: object, *, is_lenient: bool = False) -> None:
    """Check a whole document; raises DefinitionError with pointers relative to the document."""
    problems = _problems(is_lenient=is_lenient)
    if isinstance(document, dict):
        _check_document(document, problems, is_lenient=is_lenient)
    else:
        problems.add("", "a document is an object", "wrong_type")
    problems.raise_any()


def _problems(*, is_lenient: bool) -> Problems:
    return Problems(tolerated=TOLERATED_ON_IMPORT if is_lenient else frozenset())


def _check_document(document: Mapping[str, object], problems: Problems, *, is_lenient: bool) -> None:
    if not is_lenient:
        _check_members(document, _DOCUMENT_MEMBERS, "", problems)
    if document.get("flags") is None:
        problems.add("/flags", "flags are required", "missing_member")
    evaluators = _checked_object(document, "$evaluators", MAX_EVALUATORS, problems)
    flags = _checked_object(document, "flags", MAX_FLAGS, problems)
    _check_metadata(document, "", problems)
    for name, rule in evaluators.items():
        _check_evaluator(name, rule, problems)
    for key, definition in flags.items():
        if problems.is_full:
            return
        _check_flag(key, definition, evaluators, f"/flags/{escape(key)}", problems, is_lenient=is_lenient)


def _checked_object(
    parent: Mapping[str, object], member: str, limit: int, problems: Problems, pointer: str = ""
) -> Mapping[str, object]:
    """Return an object member, empty when it is absent; reported when it is something else or too large."""
    value = parent.get(member)
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.add(f"{pointer}/{member}", "must be an object", "wrong_type")
        return {}
    if len(value) > limit:
        problems.add(f"{pointer}/{member}", f"at most {limit} members", "too_many_members")
        return {}
    return value


def _check_members(
    value: Mapping[str, object], known: frozenset[str], pointer: str, problems: Problems
) -> None:
    for name in value:
        if name not in known:
            problems.add(f"{pointer}/{escape(name)}", f"unknown member {echo(name)}", "unknown_member")


def _check_evaluator(name: str, rule: object, problems: Problems) -> None:
    pointer = f"/$evaluators/{escape(name)}"
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        problems.add(pointer, f"a name has 1 to {MAX_NAME_LENGTH} characters", "invalid_name")
    if _fits(rule, pointer, problems):
        check_rule(rule, pointer, RuleContext({}, is_evaluator=True), problems)


def _fits(value: object, pointer: str, problems: Problems) -> bool:
    """Tell whether a value is JSON of an acceptable size, and report it otherwise."""
    try:
        size = len(orjson.dumps(value))
    except TypeError:
        problems.add(pointer, "this is not JSON, or it is nested too deep", "not_json")
        return False
    if size > MAX_DEFINITION_BYTES:
        problems.add(pointer, f"at most {MAX_DEFINITION_BYTES} bytes", "too_large")
    return size <= MAX_DEFINITION_BYTES


def _check_flag(
    key: str,
    definition: object,
    evaluators: Mapping[str, object],
    pointer: str,
    problems: Problems,
    *,
    is_lenient: bool,
) -> None:
    if not FLAG_KEY.fullmatch(key):
        problems.add(
            pointer, "a flag key has 1 to 128 letters, digits, dots, hyphens or underscores", "invalid_key"
        )
    if not isinstance(definition, dict):
        problems.add(pointer, "a flag definition is an object", "wrong_type")
        return
    if not _fits(definition, pointer, problems):
        return
    known = _FLAG_MEMBERS | _INTERNAL_FLAG_MEMBERS if is_lenient else _FLAG_MEMBERS
    _check_members(definition, known, pointer, problems)
    state = definition.get("state")
    if not isinstance(state, str) or state not in STATES:
        problems.add(f"{pointer}/state", "the state is ENABLED or DISABLED", "invalid_state")
    variants = _checked_variants(definition, pointer, problems)
    _check_default_variant(definition.get("defaultVariant"), variants, f"{pointer}/defaultVariant", problems)
    _check_metadata(definition, pointer, problems)
    _check_targeting(
        definition.get("targeting"), f"{pointer}/targeting", RuleContext(evaluators, variants), problems
    )


def _checked_variants(
    definition: Mapping[str, object], pointer: str, problems: Problems
) -> Mapping[str, object]:
    variants = _checked_object(definition, "variants", MAX_VARIANTS, problems, pointer)
    if not variants:
        problems.add(f"{pointer}/variants", "at least one variant is required", "missing_variants")
    expected = None
    for name, value in variants.items():
        spot = f"{pointer}/variants/{escape(name)}"
        if not 1 <= len(name) <= MAX_NAME_LENGTH:
            problems.add(spot, f"a name has 1 to {MAX_NAME_LENGTH} characters", "invalid_name")
        kind = variant_type(value)
        if kind is None:
            problems.add(spot, "a variant must not be null", "invalid_variant")
        elif kind != (expected := expected or kind):
            problems.add(
                spot, f"this is of type {kind}, the first variant of type {expected}", "mixed_variants"
            )
    return variants


def variant_type(value: object) -> str | None:
    """Name the flag type of a variant (boolean, string, number or object; lists are objects), None for null."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, float)):
        return "number"
    return None if value is None else "object"


def _check_default_variant(
    name: object, variants: Mapping[str, object], pointer: str, problems: Problems
) -> None:
    if name is None:
        return
    if isinstance(name, str):
        if name not in variants:
            problems.add(pointer, f"there is no variant {echo(name)}", "unknown_default_variant")
    else:
        problems.add(pointer, "must be a string or null", "wrong_type")


def _check_metadata(parent: Mapping[str, object], pointer: str, problems: Problems) -> None:
    members = _checked_object(parent, "metadata", MAX_METADATA, problems, pointer)
    for name, value in members.items():
        spot = f"{pointer}/metadata/{escape(name)}"
        if not 1 <= len(name) <= MAX_NAME_LENGTH:
            problems.add(spot, f"a name has 1 to {MAX_NAME_LENGTH} characters", "invalid_name")
        if not isinstance(value, (str, int, float)):
            problems.add(spot, "metadata is a string, a number or a boolean", "wrong_type")


def _check_targeting(targeting: object, pointer: str, context: RuleContext, problems: Problems) -> None:
    if targeting is None or targeting == {}:
        return
    if isinstance(targeting, dict):
        check_rule(targeting, pointer, context, problems)
    else:
        problems.add(pointer, "targeting must be an object", "wrong_type")
