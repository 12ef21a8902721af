"""What is refused on write, with the place of each mistake."""

from collections.abc import Iterable, Mapping

from undercroft.flags.domain.problems import DefinitionError, Problem
from undercroft.flags.domain.rule_checks import escape
from undercroft.flags.domain.validation import variant_type
from undercroft.flags.errors import DefinitionInvalidError
from undercroft.shared.errors import FieldProblem


def check_variants(variants: Mapping[str, object], flag_type: str, *, pointer: str) -> None:
    """Raise `DefinitionInvalidError` unless every variant is of the flag's type."""
    refuse(wrong_variants(variants, flag_type, pointer=pointer))


def wrong_variants(variants: Mapping[str, object], flag_type: str, *, pointer: str) -> list[Problem]:
    """Return the variants that are not of the flag's type."""
    return [
        Problem(f"{pointer}/{escape(name)}", f"the flag is of type {flag_type}", "variant_type_mismatch")
        for name, value in variants.items()
        if variant_type(value) != flag_type
    ]


def refuse(problems: Iterable[Problem]) -> None:
    """Raise `DefinitionInvalidError` when there are problems; pointers become URI fragments (RFC 6901 section 6)."""
    shown = [FieldProblem(f"#{each.pointer}", each.detail, each.code) for each in problems]
    if shown:
        raise DefinitionInvalidError(shown)


def refused(error: DefinitionError) -> DefinitionInvalidError:
    """Return the wire's form of what the flag language refuses."""
    return DefinitionInvalidError(
        [FieldProblem(f"#{each.pointer}", each.detail, each.code) for each in error.problems]
    )
