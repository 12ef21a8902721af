"""Claims about a person (OpenID Connect Core section 5)."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, NamedTuple, cast
from uuid import UUID

from undercroft.identity.errors.oauth import InvalidRequestError
from undercroft.shared.ids import encode_suffix
from undercroft.shared.serialization import loads

PLACES: Final = ("userinfo", "id_token")
_OF_SCOPE: Final[Mapping[str, tuple[str, ...]]] = {
    "profile": ("name", "locale", "zoneinfo", "updated_at"),
    "email": ("email", "email_verified"),
}
SUPPORTED: Final = tuple(name for names in _OF_SCOPE.values() for name in names)
_MAX_LENGTH: Final = 4_096


class Person(NamedTuple):
    """What is told about a person, to whom they allow it."""

    id: UUID
    name: str
    email: str
    email_verified_at: datetime | None
    locale: str | None
    zoneinfo: str | None
    updated_at: datetime


class RequestedClaims(NamedTuple):
    """What the `claims` parameter asks for (section 5.5): names by place, and the only subject that will do."""

    names: dict[str, list[str]]
    subject: str | None

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that would disclose the same, for the words of a consent."""
        asked = {name for names in self.names.values() for name in names}
        return frozenset(scope for scope, names in _OF_SCOPE.items() if asked & set(names))


def read_claims_parameter(text: str | None) -> RequestedClaims:
    """Read the `claims` parameter; unknown claims are ignored (section 5.5). Raises `InvalidRequestError`."""
    if text is None:
        return RequestedClaims({}, None)
    try:
        content = loads(text) if len(text) <= _MAX_LENGTH else None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InvalidRequestError("claims is not a JSON object.")
    names: dict[str, list[str]] = {}
    subject: str | None = None
    for place in PLACES:
        asked = content.get(place) or {}
        if not isinstance(asked, dict):
            raise InvalidRequestError("claims has a member that is not an object.")
        if found := [name for name in SUPPORTED if name in asked]:
            names[place] = found
        wanted = asked.get("sub")
        if isinstance(wanted, dict) and "value" in wanted:
            subject = str(wanted["value"])
    return RequestedClaims(names, subject)


def subject_of(user_id: UUID) -> str:
    """Return the `sub` of a person: stable, never given to anybody else."""
    return f"usr_{encode_suffix(user_id)}"


def claims_about(
    person: Person, scopes: Collection[str], requested: Mapping[str, object], *, place: str
) -> dict[str, object]:
    """Return the claims that scopes and the `claims` parameter disclose in one place; those without a value are left out."""
    names = set(cast("list[str]", requested.get(place, [])))
    if (
        place == "userinfo"
    ):  # section 5.4: where there is an access token, scopes disclose at the userinfo endpoint
        names.update(name for scope, of_scope in _OF_SCOPE.items() if scope in scopes for name in of_scope)
    values: dict[str, object] = {
        "name": person.name,
        "locale": person.locale,
        "zoneinfo": person.zoneinfo,
        "updated_at": int(person.updated_at.timestamp()),
        "email": person.email,
        "email_verified": person.email_verified_at is not None,
    }
    return {name: values[name] for name in SUPPORTED if name in names and values[name] not in (None, "")}
