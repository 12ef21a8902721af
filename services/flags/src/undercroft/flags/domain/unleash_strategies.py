"""Unleash's activation strategies as rules. Strategies are alternatives, and so are rules: a rollout lets the others try."""

from collections.abc import Mapping, Sequence
from typing import Final

from undercroft.flags.domain.rules import TARGETING_KEY
from undercroft.flags.domain.unleash_constraints import (
    UnconvertibleError,
    addresses,
    attribute_of,
    conditions_of,
    split_list,
)
from undercroft.flags.domain.unleash_variants import TakeNote

_GRADUAL: Final = {
    "gradualRolloutUserId": "userId",
    "gradualRolloutSessionId": "sessionId",
    "gradualRolloutRandom": "random",
}
_EVERYBODY: Final = 100


class Strategies:
    """Converts strategies; ``segments`` are the keys of the segments by their number in the export."""

    def __init__(self, segments: Mapping[object, str], note: TakeNote) -> None:
        self._segments = segments
        self._note = note

    def rules_of(
        self,
        feature: str,
        strategy: Mapping[str, object],
        variants: Sequence[Mapping[str, object]],
        *,
        is_boolean: bool,
    ) -> list[dict[str, object]]:
        """Return the rules of a strategy: none when it cannot be converted, so that nobody is let in by mistake."""
        name = str(strategy.get("title") or strategy.get("name"))
        if strategy.get("disabled") is True:
            return []
        try:
            shared = self._constraints(strategy)
            alternatives = self._audience(feature, strategy)
        except UnconvertibleError as error:
            self._note(feature, f"the strategy {name} was left out: {error}", is_converted=False)
            return []
        own = strategy.get("variants")
        chosen = own if isinstance(own, list) and own else variants
        result = {"variant": "on"} if is_boolean else self._result(feature, chosen)
        if result is None:
            self._note(feature, f"the strategy {name} was left out: it has no variants", is_converted=False)
            return []
        return [
            {"conditions": [*conditions, *shared], **rollout, **result}
            for conditions, rollout in alternatives
        ]

    def _constraints(self, strategy: Mapping[str, object]) -> list[dict[str, object]]:
        constraints = strategy.get("constraints")
        conditions = [
            condition
            for constraint in (constraints if isinstance(constraints, list) else ())
            for condition in conditions_of(constraint)
        ]
        segments = strategy.get("segments")
        for number in segments if isinstance(segments, list) else ():
            if number not in self._segments:
                raise UnconvertibleError(f"the segment {number}")
            conditions.append({"operator": "in_segment", "value": self._segments[number]})
        return conditions

    def _audience(
        self, feature: str, strategy: Mapping[str, object]
    ) -> list[tuple[list[dict[str, object]], dict[str, object]]]:
        """Return alternatives of conditions and a rollout."""
        given = strategy.get("parameters")
        parameters: Mapping[str, object] = given if isinstance(given, dict) else {}
        match strategy.get("name"):
            case "default":
                return [([], {})]
            case "userWithId":
                ids = split_list(parameters.get("userIds"))
                condition: dict[str, object] = {"attribute": TARGETING_KEY, "operator": "in", "values": ids}
                return [([condition], {})] if ids else []
            case "remoteAddress":
                return [([condition], {}) for condition in addresses(str(parameters.get("IPs") or ""))]
            case "flexibleRollout":
                stickiness = str(parameters.get("stickiness") or "default")
                rollout = self._rollout(feature, parameters, parameters.get("rollout"), stickiness)
                return [([], rollout)]
            case str(name) if name in _GRADUAL:
                rollout = self._rollout(feature, parameters, parameters.get("percentage"), _GRADUAL[name])
                return [([], rollout)]
            case other:
                raise UnconvertibleError(f"the strategy type {other}")

    def _rollout(
        self, feature: str, parameters: Mapping[str, object], percentage: object, stickiness: str
    ) -> dict[str, object]:
        try:
            share = float(str(percentage))
        except ValueError as error:
            raise UnconvertibleError(f"the percentage {percentage!r}") from error
        if share >= _EVERYBODY:
            return {}
        self._note(feature, "a rollout reaches the same share of subjects, but not the same ones")
        if stickiness == "random":
            self._note(feature, "a random rollout always answers the same to one subject here")
        if stickiness == "default":
            self._note(
                feature, "a rollout tells subjects apart by targetingKey only, not by session or by chance"
            )
        by_key = stickiness in {"default", "random", "userId"}
        rollout: dict[str, object] = {"percentage": int(share) if share.is_integer() else round(share, 2)}
        if not by_key:
            rollout["bucketBy"] = attribute_of(stickiness)
        group = parameters.get("groupId")
        if isinstance(group, str) and group not in ("", feature):
            rollout["seed"] = group
        return {"rollout": rollout}

    def _result(self, feature: str, variants: Sequence[Mapping[str, object]]) -> dict[str, object] | None:
        weights = [
            {"variant": str(variant.get("name")), "weight": _weight(variant.get("weight"))}
            for variant in variants
        ]
        if not any(each["weight"] for each in weights):
            return None
        if any(variant.get("overrides") for variant in variants):
            self._note(feature, "overrides of variants were left out")
        if len(weights) == 1:
            return {"variant": weights[0]["variant"]}
        self._note(feature, "variants have the same shares of subjects, but not the same ones")
        stickiness = str(variants[0].get("stickiness") or "default")
        by_key = stickiness in {"default", "random", "userId"}
        about = {} if by_key else {"bucketBy": attribute_of(stickiness)}
        return {"split": {"variants": weights, **about}}


def _weight(value: object) -> int:
    return max(0, round(value)) if isinstance(value, (int, float)) else 0
