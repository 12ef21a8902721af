"""What is wrong with a form, said beside its fields."""

from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from undercroft.identity.errors.payload import refused_member
from undercroft.shared.errors import FieldProblem, ServiceError, UnprocessableError

ModelT = TypeVar("ModelT", bound=BaseModel)

# Pydantic speaks to programs; people read these.
_SENTENCES: Final = {
    "email": "Enter an e-mail address, such as name@example.com.",
    "name": "Enter a name of at most 200 characters.",
    "organization": "Enter a name of at most 200 characters, or leave it empty.",
    "password": "Choose a shorter password.",
    "locale": "Enter a language such as en or de-AT.",
    "zoneinfo": "Enter a time zone such as Europe/Vienna.",
}


def read_model(model: type[ModelT], values: Mapping[str, object]) -> ModelT:
    """Build a wire model from a form's values; raises `UnprocessableError` that names the fields."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fields = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
        raise UnprocessableError(
            problems=[
                FieldProblem(f"#/{name}", _SENTENCES.get(name, "This is not valid."), "invalid")
                for name in sorted(fields)
            ]
        ) from None


def require_same(form: Mapping[str, str], name: str, repeated: str) -> None:
    """Raise `UnprocessableError` unless what was typed twice is the same."""
    if form.get(name, "") != form.get(repeated, ""):
        raise refused_member(f"#/{repeated}", "This is not what you typed above.", "not_repeated")


def sentences(error: ServiceError) -> dict[str, str]:
    """Return the sentence of each field, or one for the whole form."""
    if isinstance(error, UnprocessableError) and error.problems:
        return {each.pointer.removeprefix("#/").partition("/")[0]: each.detail for each in error.problems}
    return {"form": error.detail}
