"""What can be wrong with a flag document, collected for the person who wrote it."""

from typing import Final, NamedTuple

MAX_PROBLEMS: Final = 50

TOLERATED_ON_IMPORT: Final = frozenset(
    {
        "invalid_fraction",
        "invalid_version",
        "invalid_version_comparison",
        "unknown_default_variant",
        "unknown_evaluator",
        "unknown_variant",
        "wrong_argument_count",
    }
)
"""Codes of mistakes that flagd loads: the flag then evaluates to an error or to its default, as it does there."""


class Problem(NamedTuple):
    """One mistake: where (RFC 6901 pointer), what (for people), and which kind (stable, snake_case)."""

    pointer: str
    detail: str
    code: str


class DefinitionError(Exception):
    """A definition that is not accepted, with up to MAX_PROBLEMS reasons."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(f"{problem.pointer}: {problem.detail}" for problem in problems))
        self.problems = problems


class Problems:
    """A bounded collection of mistakes."""

    def __init__(self, *, tolerated: frozenset[str] = frozenset()) -> None:
        self._found: list[Problem] = []
        self._tolerated = tolerated

    @property
    def is_full(self) -> bool:
        """Whether looking further is pointless."""
        return len(self._found) >= MAX_PROBLEMS

    @property
    def found(self) -> tuple[Problem, ...]:
        """What was collected so far."""
        return tuple(self._found)

    def add(self, pointer: str, detail: str, code: str) -> None:
        """Collect a mistake, unless its kind is tolerated or there are enough."""
        if code not in self._tolerated and not self.is_full:
            self._found.append(Problem(pointer, detail, code))

    def raise_any(self) -> None:
        """Raise DefinitionError when there is a mistake."""
        if self._found:
            raise DefinitionError(self.found)
