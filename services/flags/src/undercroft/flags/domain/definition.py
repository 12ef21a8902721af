"""Compiles one flag definition (flagd v0) into an entry that answers for any context, whatever is wrong with it."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypeGuard

from undercroft.flags.domain.compile_variables import FLAGD_MEMBER
from undercroft.flags.domain.evaluation import (
    Answer,
    ErrorCode,
    Evaluation,
    Metadata,
    Reason,
    echo,
    failure,
)
from undercroft.flags.domain.json_logic import MemberSets, compile_rule, reference_name
from undercroft.flags.domain.work import MalformedRuleError, RuleError, Run

STATES: Final = frozenset({"ENABLED", "DISABLED"})
NO_METADATA: Final[Metadata] = {}

Resolve: TypeAlias = Callable[[dict[str, object], Run], Answer]


class Shared:
    """What the flags of a document have in common: evaluators, metadata, and sets made from literal lists."""

    __slots__ = ("evaluators", "member_sets", "metadata")

    def __init__(self, evaluators: Mapping[str, object], metadata: Metadata) -> None:
        self.evaluators = evaluators
        self.metadata = metadata
        self.member_sets: MemberSets = {}


class _BrokenDefinitionError(Exception):
    """A definition that flagd would not load."""


def compile_definition(key: str, definition: object, shared: Shared) -> Answer | Resolve:
    """Compile a definition; what flagd would refuse to load becomes the answer PARSE_ERROR."""
    try:
        return _compile(key, _members(definition), shared)
    except _BrokenDefinitionError as error:
        return failure(key, ErrorCode.PARSE_ERROR, f"Invalid flag definition: {error}", shared.metadata)


def _members(definition: object) -> Mapping[str, object]:
    if not isinstance(definition, dict):
        detail = "it is not an object"
        raise _BrokenDefinitionError(detail)
    return definition


def _compile(key: str, definition: Mapping[str, object], shared: Shared) -> Answer | Resolve:
    state = definition.get("state")
    if not isinstance(state, str) or state not in STATES:
        detail = "state must be ENABLED or DISABLED"
        raise _BrokenDefinitionError(detail)
    variants = definition.get("variants")
    if not isinstance(variants, dict) or not variants:
        detail = "variants must be an object with at least one member"
        raise _BrokenDefinitionError(detail)
    flag = _Flag(key, variants, _default_variant(definition), _merged_metadata(definition, shared.metadata))
    if state == "DISABLED":
        return Answer(Evaluation(key=key, reason=Reason.DISABLED, metadata=flag.metadata))
    targeting = definition.get("targeting")
    reference = reference_name(targeting)
    if reference is not None:
        targeting = shared.evaluators.get(reference, targeting)
    return (
        flag.targeted(definition["targeting"], targeting, shared)
        if targeting
        else flag.default(Reason.STATIC)
    )


def _default_variant(definition: Mapping[str, object]) -> str:
    """Read the name of the default variant, "" when there is none; booleans name "true" and "false"."""
    name = definition.get("defaultVariant")
    if isinstance(name, bool):
        return str(name).lower()
    if not name:
        return ""
    if not isinstance(name, str):
        detail = "defaultVariant must be a string"
        raise _BrokenDefinitionError(detail)
    return name


def _merged_metadata(definition: Mapping[str, object], shared: Metadata) -> Metadata:
    own = definition.get("metadata")
    if not own:
        return shared
    if not is_metadata(own):
        detail = "metadata must be an object of strings, numbers and booleans"
        raise _BrokenDefinitionError(detail)
    return {**shared, **own}


def is_metadata(value: object) -> TypeGuard[Metadata]:
    """Tell whether a value is an object of strings, numbers and booleans under non-empty names."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and name and isinstance(member, (str, int, float))
        for name, member in value.items()
    )


class _Flag:
    """An enabled flag on its way to answers."""

    def __init__(
        self, key: str, variants: Mapping[str, object], default_variant: str, metadata: Metadata
    ) -> None:
        self.key = key
        self.variants = variants
        self.default_variant = default_variant
        self.metadata = metadata

    def default(self, reason: Reason) -> Answer:
        """Answer with the default variant, or leave the value to the caller when there is none."""
        if not self.default_variant:
            return Answer(Evaluation(key=self.key, reason=Reason.DEFAULT, metadata=self.metadata))
        return self.answer(self.default_variant, reason)

    def answer(self, variant: str, reason: Reason) -> Answer:
        """Answer with a variant; one that is absent or null is an error."""
        value = self.variants.get(variant)
        if value is None:
            return self.without_variant(variant)
        return Answer(
            Evaluation(key=self.key, reason=reason, variant=variant, value=value, metadata=self.metadata)
        )

    def without_variant(self, variant: str) -> Answer:
        """Answer that the flag has no such variant."""
        return self.error(f"The flag has no variant {echo(variant)}")

    def error(self, details: str) -> Answer:
        """Answer with a GENERAL error."""
        return failure(self.key, ErrorCode.GENERAL, details, self.metadata)

    def targeted(self, source: object, targeting: object, shared: Shared) -> Answer | Resolve:
        """Compile targeting; ``source`` is what the definition says, ``targeting`` with its reference resolved."""
        if not isinstance(targeting, dict):
            detail = "targeting must be an object"
            return failure(self.key, ErrorCode.PARSE_ERROR, detail, self.metadata)
        try:
            compiled = compile_rule(
                source, flag_key=self.key, evaluators=shared.evaluators, member_sets=shared.member_sets
            )
        except MalformedRuleError as error:
            return failure(self.key, ErrorCode.PARSE_ERROR, str(error), self.metadata)
        matches = {name: self.answer(name, Reason.TARGETING_MATCH) for name in self.variants}
        return _resolver(self, compiled.rule, matches, reads_flagd_data=compiled.reads_flagd_data)


def _resolver(
    flag: _Flag,
    rule: Callable[[object, Run], object],
    matches: Mapping[str, Answer],
    *,
    reads_flagd_data: bool,
) -> Resolve:
    key, default = flag.key, flag.default(Reason.DEFAULT)

    def resolve(context: dict[str, object], run: Run) -> Answer:
        try:
            result = rule(with_flagd_data(context, key, run.now) if reads_flagd_data else context, run)
            if result is None:
                return default
            name = result if isinstance(result, str) else _variant_name(result)
        except MalformedRuleError as error:
            return failure(key, ErrorCode.PARSE_ERROR, str(error), flag.metadata)
        except RuleError as error:
            return flag.error(str(error))
        except Exception as error:  # noqa: BLE001  An operator's surprise is one error entry, never a failed bulk.
            return flag.error(f"The targeting cannot be evaluated for this context ({type(error).__name__})")
        if name is None:
            return flag.error("The targeting gave neither the name of a variant nor null")
        return matches.get(name) or flag.without_variant(name)

    return resolve


def with_flagd_data(context: dict[str, object], key: str, now: int) -> dict[str, object]:
    """Return the context with what flagd adds to it."""
    return {
        **context,
        FLAGD_MEMBER: {"flagKey": key, "timestamp": now},
        "targetingKey": context.get("targetingKey"),
    }


def _variant_name(result: object) -> str | None:
    """Name the variant a rule means by a boolean or a number, None for lists and objects."""
    if isinstance(result, bool):
        return str(result).lower()
    return str(result) if isinstance(result, (int, float)) else None
