"""The refusal of one member of a body: 422 `validation_failed`, with the member's own code among its problems."""

from undercroft.shared.errors import FieldProblem, UnprocessableError


def refused_member(pointer: str, detail: str, code: str) -> UnprocessableError:
    """Return the refusal of one member of a body."""
    return UnprocessableError(problems=[FieldProblem(pointer=pointer, detail=detail, code=code)])
