"""Unleash's variants as those of a typed flag."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from undercroft.flags.domain.validation import variant_type


class TakeNote(Protocol):
    """Notes something that is not the same here."""

    def __call__(self, subject: str, detail: str, *, is_converted: bool = True) -> None:
        """Take the note."""
        ...


class Typed(NamedTuple):
    """Values by name, all of one type."""

    type: str
    values: dict[str, object]


def typed_variants(variants: Sequence[Mapping[str, object]], feature: str, note: TakeNote) -> Typed:
    """Return the payloads of variants, or their names where the payloads are not all of one type."""
    values = {str(variant.get("name")): _payload(variant) for variant in variants}
    kinds = {variant_type(value) for value in values.values()}
    note(feature, "its value is the payload of its variant; whether it is enabled is no value of its own")
    if len(kinds) == 1 and None not in kinds:
        return Typed(str(kinds.pop()), values)
    note(feature, "its payloads are missing or of several types: its values are the names of the variants")
    return Typed("string", {name: name for name in values})


def _payload(variant: Mapping[str, object]) -> object:
    payload = variant.get("payload")
    if not isinstance(payload, dict):
        return None
    value = payload.get("value")
    if payload.get("type") in {"json", "number"}:
        try:
            return json.loads(str(value))
        except ValueError:
            return None
    return None if value is None else str(value)
