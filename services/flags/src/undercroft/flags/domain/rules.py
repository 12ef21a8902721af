"""What a rule says: conditions that must all hold, then a variant or a weighted split. Values only, no meaning."""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

Scalar: TypeAlias = str | int | float | bool

TARGETING_KEY: Final = "targetingKey"
CLOCK: Final = "$flagd.timestamp"
"""The attribute that is the time of the evaluation in unix seconds."""

MAX_RULES: Final = 200
MAX_CONDITIONS: Final = 50
MAX_VALUES: Final = 10_000
MAX_PREREQUISITES: Final = 20
MAX_ATTRIBUTE_LENGTH: Final = 256
HUNDREDTHS: Final = 100

EQUALITY: Final = ("equals", "in")
TEXT: Final = ("starts_with", "ends_with")
CONTAINS: Final = "contains"
EXISTS: Final = "exists"
IN_SEGMENT: Final = "in_segment"
NUMBERS: Final = {"less_than": "<", "at_most": "<=", "greater_than": ">", "at_least": ">="}
VERSIONS: Final = {
    "version_equals": "=",
    "version_less_than": "<",
    "version_at_most": "<=",
    "version_greater_than": ">",
    "version_at_least": ">=",
    "version_same_major": "^",
    "version_same_minor": "~",
}
TIMES: Final = {"before": "<", "after": ">"}
OPERATORS_OF_CONDITIONS: Final = (*EQUALITY, *TEXT, CONTAINS, EXISTS, IN_SEGMENT, *NUMBERS, *VERSIONS, *TIMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One test of the context: it holds when it does for any of the values, and the other way round if negated.

    Times are unix seconds. ``attribute`` is None for a segment.
    """

    operator: str
    attribute: str | None
    values: tuple[Scalar, ...]
    is_negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucketing:
    """By what subjects are told apart: an attribute, and a seed (the flag's key when None)."""

    attribute: str = TARGETING_KEY
    seed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The share of those who match that a rule applies to, in hundredths of a percent."""

    share: int
    bucketing: Bucketing


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedSplit:
    """Variants with their weights, in the order in which they share out the buckets."""

    weights: tuple[tuple[str, int], ...]
    bucketing: Bucketing


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Conditions that must all hold, perhaps for a share of those who match, and what they lead to."""

    conditions: tuple[Condition, ...]
    result: str | WeightedSplit
    rollout: Rollout | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prerequisite:
    """Another flag that must have one of these variants."""

    flag: str
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Everything a definition by rules says beside its variants.

    ``unmet_variant`` is served when a prerequisite does not hold; the default variant when it is None.
    """

    rules: tuple[Rule, ...] = field(default=())
    prerequisites: tuple[Prerequisite, ...] = field(default=())
    unmet_variant: str | None = None
