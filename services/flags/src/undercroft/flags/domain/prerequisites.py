"""Prerequisites: the order in which flags depend on one another, and how one is written into the targeting of another."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from undercroft.flags.domain.json_logic import REFERENCE, reference_name
from undercroft.flags.domain.rule_targeting import SEGMENT_PREFIX
from undercroft.flags.domain.rules import CLOCK


class CycleError(Exception):
    """Flags that depend on one another in a ring."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(" -> ".join(keys))
        self.keys = tuple(keys)


class Order(NamedTuple):
    """The keys to compile, each after what it depends on."""

    keys: tuple[str, ...]


def affected(changed: Iterable[str], requires: Mapping[str, Sequence[str]]) -> Order:
    """Order the changed flags and whatever depends on them; raises CycleError.

    ``requires`` tells what each flag depends on, for all flags that depend on any.
    """
    dependents: dict[str, list[str]] = {}
    for key, needed in requires.items():
        for other in needed:
            dependents.setdefault(other, []).append(key)
    ordered: list[str] = []
    open_keys: dict[str, None] = {}
    done: set[str] = set()

    def visit(key: str) -> None:
        if key in done:
            return
        if key in open_keys:
            ring = list(open_keys)
            raise CycleError([*ring[ring.index(key) :], key][::-1])
        open_keys[key] = None
        for dependent in dependents.get(key, ()):
            visit(dependent)
        del open_keys[key]
        done.add(key)
        ordered.append(key)

    for key in changed:
        visit(key)
    return Order(tuple(reversed(ordered)))


def requirement(definition: Mapping[str, object], variants: Sequence[str]) -> object:
    """Return the rule that holds when a flag of this (compiled) definition has one of the variants."""
    if definition.get("state") != "ENABLED":
        return False
    is_default = definition.get("defaultVariant") in variants
    targeting = definition.get("targeting")
    if not targeting:
        return is_default
    wanted: list[object] = [*variants]
    wanted += [value for name, value in (("true", True), ("false", False)) if name in variants]
    return {"in": [targeting, [*wanted, None] if is_default else wanted]}


def is_inlinable(definition: Mapping[str, object], evaluators: Mapping[str, object]) -> bool:
    """Tell whether targeting means the same inside another flag: it must not depend on its own flag's key.

    The shorthand of ``fractional`` hashes that key, and ``$flagd`` holds it.
    """
    return not any(_names_its_flag(rule) for rule in _operations(definition.get("targeting"), evaluators))


def segments_of(targeting: object) -> tuple[str, ...]:
    """Return the segments that targeting refers to, each once."""
    names = (reference_name(rule) for rule in _operations(targeting, {}))
    found = {
        name.removeprefix(SEGMENT_PREFIX): None for name in names if name and name.startswith(SEGMENT_PREFIX)
    }
    return tuple(found)


def references_of(targeting: object) -> tuple[str, ...]:
    """Return the evaluators that targeting refers to, each once."""
    names = (reference_name(rule) for rule in _operations(targeting, {}))
    return tuple({name: None for name in names if name})


def _operations(source: object, evaluators: Mapping[str, object]) -> Iterator[dict[str, object]]:
    pending = [source]
    followed: set[str] = set()
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            yield current
            pending.extend(current.values())
            name = reference_name(current)
            if name is not None and name in evaluators and name not in followed:
                followed.add(name)
                pending.append(evaluators[name])
        elif isinstance(current, list):
            pending.extend(current)


def _names_its_flag(rule: Mapping[str, object]) -> bool:
    split = rule.get("fractional")
    if isinstance(split, list) and split and isinstance(split[0], list):
        return True
    return any(
        isinstance(text, str) and text.startswith("$flagd") and text != CLOCK
        for name, value in rule.items()
        if name != REFERENCE
        for text in (value if isinstance(value, list) else [value])
    )
