"""Unleash's constraints as conditions. What has no equal is refused by name: a wider audience is never an approximation."""

from collections.abc import Mapping, Sequence
from typing import Final

from undercroft.flags.domain.rules import CLOCK, TARGETING_KEY

_DOTS_OF_AN_ADDRESS: Final = 3
_FIELDS: Final = {"userId": TARGETING_KEY, "currentTime": CLOCK}
_LISTS: Final = {
    "IN": ("in", False),
    "NOT_IN": ("in", True),
    "STR_CONTAINS": ("contains", False),
    "STR_STARTS_WITH": ("starts_with", False),
    "STR_ENDS_WITH": ("ends_with", False),
}
_SINGLES: Final = {
    "NUM_EQ": "equals",
    "NUM_GT": "greater_than",
    "NUM_GTE": "at_least",
    "NUM_LT": "less_than",
    "NUM_LTE": "at_most",
    "DATE_AFTER": "after",
    "DATE_BEFORE": "before",
    "SEMVER_EQ": "version_equals",
    "SEMVER_GT": "version_greater_than",
    "SEMVER_GTE": "version_at_least",
    "SEMVER_LT": "version_less_than",
    "SEMVER_LTE": "version_at_most",
}


class UnconvertibleError(Exception):
    """Something of an export that has no equal here; the message says what."""


def attribute_of(field: object) -> str:
    """Return the attribute of a context field: `userId` is the targeting key, `properties` are members themselves."""
    name = str(field)
    return _FIELDS.get(name, name.removeprefix("properties."))


def conditions_of(constraint: Mapping[str, object]) -> list[dict[str, object]]:
    """Return the conditions, which must all hold, of a constraint; raises UnconvertibleError."""
    operator = str(constraint.get("operator"))
    is_inverted = constraint.get("inverted") is True
    if constraint.get("caseInsensitive") is True and operator.startswith("STR_"):
        raise UnconvertibleError("a comparison that ignores case")
    attribute = attribute_of(constraint.get("contextName"))
    if operator in _LISTS:
        name, is_negative = _LISTS[operator]
        values = [str(value) for value in _list(constraint.get("values")) if str(value) != ""]
        if not values:
            raise UnconvertibleError(f"a constraint {operator} without values")
        return [_condition(name, attribute, {"values": values}, is_negated=is_inverted != is_negative)]
    if operator not in _SINGLES:
        raise UnconvertibleError(f"the operator {operator}")
    value = constraint.get("value")
    if operator.startswith("NUM_"):
        value = _number(value)
    # Unleash reads numbers from text as well, which `equals` does not and bounds do.
    names = ("at_least", "at_most") if operator == "NUM_EQ" else (_SINGLES[operator],)
    if is_inverted and len(names) > 1:
        raise UnconvertibleError("an inverted NUM_EQ")
    return [_condition(name, attribute, {"value": value}, is_negated=is_inverted) for name in names]


def addresses(given: str) -> list[dict[str, object]]:
    """Return conditions, of which one must hold, for addresses and for IPv4 networks that end at a dot."""
    exact: list[str] = []
    prefixes: list[str] = []
    for address in split_list(given):
        network, _, bits = address.partition("/")
        if not bits or bits == "32":
            exact.append(network)
        elif bits in {"8", "16", "24"} and network.count(".") == _DOTS_OF_AN_ADDRESS:
            prefixes.append(".".join(network.split(".")[: int(bits) // 8]) + ".")
        else:
            raise UnconvertibleError(f"the network {address}")
    conditions = []
    if exact:
        conditions.append(_condition("in", "remoteAddress", {"values": exact}, is_negated=False))
    if prefixes:
        conditions.append(_condition("starts_with", "remoteAddress", {"values": prefixes}, is_negated=False))
    return conditions


def split_list(given: object) -> list[str]:
    """Split a list that Unleash keeps as text."""
    return [part.strip() for part in str(given or "").split(",") if part.strip()]


def _number(value: object) -> float:
    try:
        number = float(str(value))
    except ValueError as error:
        raise UnconvertibleError(f"the number {value!r}") from error
    return int(number) if number.is_integer() else number


def _condition(
    operator: str, attribute: str, compared: Mapping[str, object], *, is_negated: bool
) -> dict[str, object]:
    about = {} if attribute == CLOCK else {"attribute": attribute}
    return {**about, "operator": operator, **compared, **({"negate": True} if is_negated else {})}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()
