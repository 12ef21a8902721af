"""Reads an export of Unleash (features with strategies) into flags by rules, and tells what is not the same here.

Known forms: `/api/admin/features-batch/export`, `/api/admin/state/export`, and what clients get (`/api/client/features`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from undercroft.flags.domain.unleash_constraints import UnconvertibleError, conditions_of
from undercroft.flags.domain.unleash_strategies import Strategies
from undercroft.flags.domain.unleash_variants import Typed, typed_variants

_ENABLED: Final = {"on": True, "off": False}


class Note(NamedTuple):
    """Something that was not converted exactly: about which feature or segment, and what."""

    subject: str
    detail: str
    is_converted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedFlag:
    """A flag as it shall be; ``source`` is its definition by rules."""

    key: str
    type: str
    description: str
    tags: tuple[str, ...]
    is_stale: bool
    source: dict[str, object]


@dataclass(slots=True)
class Converted:
    """Everything that an export gave."""

    flags: list[ImportedFlag] = field(default_factory=list)
    segments: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def note(self, subject: str, detail: str, *, is_converted: bool = True) -> None:
        """Note a difference, once."""
        note = Note(subject, detail, is_converted)
        if note not in self.notes:
            self.notes.append(note)


def environments_in(export: Mapping[str, object]) -> tuple[str, ...]:
    """Return the environments that an export is about."""
    names = (str(each.get("environment")) for each in _objects(export, "featureEnvironments"))
    return tuple({name: None for name in names if name != "None"})


def convert(export: Mapping[str, object], environment: str | None) -> Converted:
    """Convert the features of an export as they are in one of its environments (None: it knows of no environments)."""
    converted = Converted()
    segments = _convert_segments(export, converted)
    strategies = Strategies(segments, converted.note)
    for feature in _objects(export, "features"):
        name = str(feature.get("name"))
        if feature.get("archived") is True or feature.get("archivedAt") is not None:
            converted.note(name, "it is archived", is_converted=False)
            continue
        try:
            _convert_feature(_Feature(export, feature, name, environment), strategies, converted)
        except UnconvertibleError as error:
            converted.note(name, str(error), is_converted=False)
    return converted


class _Feature(NamedTuple):
    export: Mapping[str, object]
    content: Mapping[str, object]
    name: str
    environment: str | None

    def is_mine(self, row: Mapping[str, object]) -> bool:
        is_here = self.environment is None or row.get("environment") in (None, self.environment)
        return is_here and row.get("featureName", row.get("name")) == self.name

    @property
    def is_enabled(self) -> bool:
        for row in _objects(self.export, "featureEnvironments"):
            if self.is_mine(row):
                return row.get("enabled") is True
        return self.content.get("enabled") is True

    @property
    def strategies(self) -> list[Mapping[str, object]]:
        listed = [row for row in _objects(self.export, "featureStrategies") if self.is_mine_strategy(row)]
        return sorted(listed, key=_order) or list(_objects(self.content, "strategies"))

    def is_mine_strategy(self, row: Mapping[str, object]) -> bool:
        is_here = self.environment is None or row.get("environment") in (None, self.environment)
        return is_here and row.get("featureName") == self.name

    @property
    def variants(self) -> list[Mapping[str, object]]:
        for row in _objects(self.export, "featureEnvironments"):
            if self.is_mine(row) and row.get("variants"):
                return list(_objects(row, "variants"))
        return list(_objects(self.content, "variants"))

    @property
    def tags(self) -> tuple[str, ...]:
        rows = (row for row in _objects(self.export, "featureTags") if row.get("featureName") == self.name)
        texts = (f"{row.get('tagType', 'simple')}:{row.get('tagValue')}" for row in rows)
        return tuple("-".join(text.replace(",", " ").split())[:64] for text in texts)


def _convert_feature(feature: _Feature, strategies: Strategies, converted: Converted) -> None:
    given = feature.strategies
    own = [variant for strategy in given for variant in _objects(strategy, "variants")]
    variants = feature.variants
    typed = typed_variants([*variants, *own], feature.name, converted.note) if variants or own else None
    rules = [
        rule
        for strategy in given
        for rule in strategies.rules_of(feature.name, strategy, variants, is_boolean=typed is None)
    ]
    if not given:
        # Unleash: enabled without a strategy is enabled for everyone.
        rules = strategies.rules_of(feature.name, {"name": "default"}, variants, is_boolean=typed is None)
    source: dict[str, object] = {
        "state": "ENABLED" if feature.is_enabled else "DISABLED",
        "variants": _ENABLED if typed is None else typed.values,
        "defaultVariant": "off" if typed is None else None,
        "rules": rules,
    }
    prerequisites = list(_prerequisites(feature))
    if prerequisites:
        source["prerequisites"] = prerequisites
        converted.note(feature.name, "a parent must have a variant here; in Unleash it must be enabled")
    converted.flags.append(
        ImportedFlag(
            key=feature.name,
            type=typed.type if isinstance(typed, Typed) else "boolean",
            description=str(feature.content.get("description") or ""),
            tags=tuple(dict.fromkeys(feature.tags)),
            is_stale=feature.content.get("stale") is True,
            source=source,
        )
    )


def _prerequisites(feature: _Feature) -> Iterable[dict[str, object]]:
    listed = [
        parent
        for row in _objects(feature.export, "dependencies")
        if row.get("feature") == feature.name
        for parent in _objects(row, "dependencies")
    ]
    for parent in listed or _objects(feature.content, "dependencies"):
        if parent.get("enabled") is False:
            raise UnconvertibleError("a parent that must be disabled")
        variants = parent.get("variants")
        names = [str(name) for name in variants] if isinstance(variants, list) and variants else ["on"]
        yield {"flag": str(parent.get("feature")), "variants": names}


def _convert_segments(export: Mapping[str, object], converted: Converted) -> dict[object, str]:
    """Convert segments into conditions by key; return their keys by their number in the export."""
    keys: dict[object, str] = {}
    for segment in _objects(export, "segments"):
        name = str(segment.get("name") or segment.get("id"))
        key = _slug(name)
        try:
            conditions = [
                condition
                for constraint in _objects(segment, "constraints")
                for condition in conditions_of(constraint)
            ]
        except UnconvertibleError as error:
            converted.note(f"segment {name}", str(error), is_converted=False)
            continue
        if not conditions:
            converted.note(f"segment {name}", "it has no constraints", is_converted=False)
            continue
        while key in converted.segments:
            key += "-2"
        keys[segment.get("id")] = key
        converted.segments[key] = conditions
    return keys


def _slug(name: str) -> str:
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return kept.strip("-")[:100] or "segment"


def _order(strategy: Mapping[str, object]) -> float:
    order = strategy.get("sortOrder")
    return order if isinstance(order, (int, float)) else 0


def _objects(parent: Mapping[str, object], member: str) -> Iterable[dict[str, object]]:
    value = parent.get(member)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
