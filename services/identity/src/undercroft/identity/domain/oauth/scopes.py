"""Scopes in requests: how they are written, and which of them a client may be given."""

import re
from collections.abc import Collection, Iterable
from typing import Final

from undercroft.identity.domain.roles import MEMBER_SCOPES, PERSONAL_SCOPES
from undercroft.identity.errors.oauth import InvalidScopeError
from undercroft.shared.auth import Scope

OPENID: Final = "openid"
OFFLINE_ACCESS: Final = "offline_access"
ACCOUNT: Final = str(Scope.ACCOUNT)

_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_PLATFORM: Final = frozenset(str(scope) for scope in Scope)

# What somebody can hand on to a client: what concerns themselves, and what members may do in their organization.
DELEGABLE: Final = PERSONAL_SCOPES | frozenset(str(scope) for scope in MEMBER_SCOPES)
# What this service's own sign-in is given.
OWN_SIGN_IN: Final = frozenset({*DELEGABLE, ACCOUNT}) - {OFFLINE_ACCESS}
REGISTRABLE: Final = (PERSONAL_SCOPES | _PLATFORM) - {ACCOUNT}


def join(scopes: Iterable[str]) -> str:
    """Write scopes as RFC 6749 section 3.3 does."""
    return " ".join(sorted(scopes))


def split(text: str | None) -> frozenset[str]:
    """Read a list of scopes; raises `InvalidScopeError` for one that is malformed."""
    scopes = frozenset((text or "").split(" ")) - {""}
    if not all(_TOKEN.fullmatch(scope) for scope in scopes):
        raise InvalidScopeError("A scope has characters that no scope has.")
    return scopes


def delegated(text: str | None, registered: Collection[str]) -> frozenset[str]:
    """Return the scopes that a client asks a person for; without any, those it is registered for.

    OpenID Connect Core section 3.1.2.1 has unknown scopes ignored; plain OAuth has them refused.
    """
    asked = split(text)
    known = asked & (REGISTRABLE | {ACCOUNT})
    if OPENID not in asked and known != asked:
        raise InvalidScopeError("A scope is unknown.")
    allowed = DELEGABLE & frozenset(registered)
    if not known <= allowed:
        raise InvalidScopeError("The client is not registered for a scope that it asks for.")
    granted = known if asked else allowed - PERSONAL_SCOPES
    if not granted:
        raise InvalidScopeError("Which scopes are wanted?")
    return granted


def own(text: str | None, registered: Collection[str]) -> frozenset[str]:
    """Return the scopes that a client asks for itself; without any, those it is registered for."""
    allowed = frozenset(registered) - PERSONAL_SCOPES - {ACCOUNT}
    granted = split(text) or allowed
    if not granted or not granted <= allowed:
        raise InvalidScopeError("The client is not registered for a scope that it asks for.")
    return granted


def narrowed(text: str | None, granted: Collection[str]) -> frozenset[str]:
    """Return fewer scopes of a grant (RFC 6749 section 6); raises `InvalidScopeError` for more."""
    scopes = split(text) or frozenset(granted)
    if not scopes <= frozenset(granted):
        raise InvalidScopeError("A scope was not granted.")
    return scopes
