"""Whom tokens are for (RFC 8707)."""

from collections.abc import Collection, Sequence

from undercroft.identity.errors.oauth import InvalidTargetError


def requested(resources: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Return the resources of an authorization request, each once; raises `InvalidTargetError` for an unknown one."""
    if not set(resources) <= set(known):
        raise InvalidTargetError("A resource is unknown.")
    return tuple(dict.fromkeys(resources))


def audience(resources: Sequence[str], granted: Sequence[str], *, issuer: str) -> list[str]:
    """Return the audience of an access token: what it was asked for, within what was granted.

    Without any grant of a resource, and none asked for, a token is for the issuer's own API.
    """
    allowed = tuple(granted) or (issuer,)
    if not set(resources) <= set(allowed):
        raise InvalidTargetError("A resource was not granted.")
    return list(dict.fromkeys(resources)) or list(allowed)
