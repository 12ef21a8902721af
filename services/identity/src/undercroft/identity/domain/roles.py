"""Roles of members, and what each may do in its organization."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from undercroft.shared.auth import Scope

# They name what a client may learn about a person (OpenID Connect Core section 5.4), or how long it may stay
# (section 11), in whichever organization.
PERSONAL_SCOPES: Final = frozenset({"openid", "profile", "email", "offline_access"})


class Role(StrEnum):
    """What a member is in an organization, from most to least."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"


_VIEWER = frozenset({Scope.IDENTITY_READ, Scope.USAGE_READ, Scope.WEBHOOKS_READ})
_DEVELOPER = _VIEWER | {
    Scope.IDENTITY_API_KEYS,
    Scope.FLAGS_EVALUATE,
    Scope.USAGE_INGEST,
    Scope.WEBHOOKS_WRITE,
    Scope.WEBHOOKS_SEND,
}
_ADMIN = _DEVELOPER | {Scope.IDENTITY_WRITE, Scope.USAGE_WRITE}

SCOPES_OF: Final = {
    Role.OWNER: _ADMIN,
    Role.ADMIN: _ADMIN,
    Role.DEVELOPER: _DEVELOPER,
    Role.VIEWER: _VIEWER,
}

MEMBER_SCOPES: Final = SCOPES_OF[Role.OWNER]


def scopes_within(granted: Iterable[str], role: Role | None) -> frozenset[str]:
    """Return what remains of granted scopes for a member with this role, or for somebody who is in no organization."""
    allowed = frozenset(str(scope) for scope in SCOPES_OF[role]) if role is not None else frozenset[str]()
    always = PERSONAL_SCOPES | {str(Scope.ACCOUNT)}
    return frozenset(scope for scope in granted if scope in allowed or scope in always)
