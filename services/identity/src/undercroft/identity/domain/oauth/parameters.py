"""Parameters of OAuth requests: none twice, none empty (RFC 6749 section 3.1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from undercroft.identity.errors.oauth import InvalidRequestError

RESOURCE: Final = "resource"
_MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a request says; `resources` is the one parameter that may be repeated (RFC 8707 section 2).

    Of those in `repeated`, which must not be, none has a value.
    """

    values: Mapping[str, str]
    resources: tuple[str, ...] = ()
    repeated: frozenset[str] = field(default_factory=frozenset)

    def require_unrepeated(self) -> None:
        """Raise `InvalidRequestError` when a parameter is repeated."""
        if self.repeated:
            raise InvalidRequestError("A parameter is repeated.")

    def get(self, name: str) -> str | None:
        """Return a parameter, None when it is absent or empty."""
        return self.values.get(name)

    def require(self, name: str) -> str:
        """Return a parameter; raises `InvalidRequestError` when it is absent."""
        value = self.values.get(name)
        if value is None:
            raise InvalidRequestError(f"The parameter {name} is missing.")
        return value

    def pairs(self) -> list[tuple[str, str]]:
        """Return everything as it could be sent again."""
        return [*self.values.items(), *((RESOURCE, each) for each in self.resources)]


def read_parameters(text: str) -> Parameters:
    """Read a urlencoded query or body; raises `InvalidRequestError` for what cannot be read."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST)
    except ValueError:
        raise InvalidRequestError("The parameters cannot be read.") from None
    if "%00" in text or "\x00" in text:
        raise InvalidRequestError("A parameter has a character that no parameter has.")
    values: dict[str, str] = {}
    resources: list[str] = []
    repeated: set[str] = set()
    for name, value in pairs:
        if name == RESOURCE:
            resources.append(value)
        elif name in values:
            repeated.add(name)
        else:
            values[name] = value
    for name in repeated:
        del values[name]
    present = {name: value for name, value in values.items() if value}
    return Parameters(present, tuple(filter(None, resources)), frozenset(repeated))
