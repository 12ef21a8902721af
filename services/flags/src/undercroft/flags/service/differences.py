"""What a document changes about an environment, compared to the last trailing zero. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from undercroft.flags.repository.definitions import Placed
from undercroft.flags.schemas.environments import DocumentResult
from undercroft.flags.schemas.names import JsonObject
from undercroft.shared.serialization import dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The keys of flags that come, change, move or go."""

    created: tuple[str, ...]
    updated: tuple[str, ...]
    moved: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def is_any(self) -> bool:
        """Tell whether there is something to do."""
        return bool(self.created or self.updated or self.moved or self.removed)

    def result(self) -> DocumentResult:
        """Count it for the wire."""
        return DocumentResult(
            created=len(self.created), updated=len(self.updated), archived=len(self.removed)
        )


def compare(flags: Mapping[str, JsonObject], current: Mapping[str, Placed]) -> Difference:
    """Compare a document's flags with what an environment has; `1` and `1.0` differ, and so does order."""
    kept = {key: position for position, key in enumerate(flags) if key in current}
    updated = {key for key in kept if not is_same(current[key].content, flags[key])}
    return Difference(
        created=tuple(key for key in flags if key not in current),
        updated=tuple(key for key in kept if key in updated),
        moved=tuple(
            key for key, position in kept.items() if key not in updated and current[key].position != position
        ),
        removed=tuple(key for key in current if key not in flags),
    )


def is_same(one: object, other: object) -> bool:
    """Tell whether two values are the same JSON text; to Python's `==`, 1, 1.0 and True are equal."""
    return dumps(one) == dumps(other)
