"""What one step of a schedule makes of a definition. Pure."""

from collections.abc import Mapping, Sequence
from typing import cast

from undercroft.flags.domain.authoring import is_by_rules


class IncompatibleError(Exception):
    """The definition is no longer one that the step can change; the message tells why."""


def merge(target: object, patch: object) -> object:
    """Apply a JSON Merge Patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def ramp_step(definition: Mapping[str, object], ramp: Mapping[str, object], step: int) -> dict[str, object]:
    """Return the definition with the ramp's rule at the percentage of a step; raises IncompatibleError.

    From the second step on the rule must be as the step before left it: whoever changed it meanwhile meant it.
    """
    if definition.get("targeting") and not is_by_rules(definition):
        raise IncompatibleError("the definition has targeting in JsonLogic, and no rules")
    given = definition.get("rules")
    rules: list[object] = list(given) if isinstance(given, list) else []
    steps = cast("Sequence[Mapping[str, object]]", ramp["steps"])  # a list since the request was validated
    index = _find(rules, ramp["rule"])
    if index is None:
        if step > 0:
            raise IncompatibleError(f"the rule {ramp['rule']!r} is no longer there")
        index = len(rules)
        rules.append({"name": ramp["rule"], "variant": ramp["variant"]})
    rule = cast("dict[str, object]", rules[index])  # only an object has a name to be found by
    if rule.get("variant") != ramp["variant"]:
        raise IncompatibleError(f"the rule {ramp['rule']!r} does not lead to {ramp['variant']!r}")
    rollout = rule.get("rollout")
    rollout = dict(rollout) if isinstance(rollout, dict) else {}
    if step > 0 and rollout.get("percentage") != steps[step - 1]["percentage"]:
        before = steps[step - 1]["percentage"]
        raise IncompatibleError(f"the rule {ramp['rule']!r} is no longer at {before:g} %")
    rollout["percentage"] = steps[step]["percentage"]
    if ramp.get("bucketBy") is not None:
        rollout["bucketBy"] = ramp["bucketBy"]
    rules[index] = {**rule, "rollout": rollout}
    kept = {name: value for name, value in definition.items() if name != "targeting"}
    return {**kept, "rules": rules}


def _find(rules: Sequence[object], name: object) -> int | None:
    named = (index for index, rule in enumerate(rules) if isinstance(rule, dict) and rule.get("name") == name)
    return next(named, None)
