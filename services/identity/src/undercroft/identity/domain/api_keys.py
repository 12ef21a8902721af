"""Pure rules of API keys: which scopes may be handed on, which addresses a key may be used from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, Literal
from uuid import UUID

from undercroft.shared.auth import Principal, Scope

# They rule over every organization at once, so no organization's key may hold them.
OPERATOR_ONLY_SCOPES: Final = frozenset({Scope.OPERATOR, Scope.FLAGS_READ, Scope.FLAGS_WRITE})

# A key is nobody's account.
PERSONS_ONLY_SCOPES: Final = frozenset({Scope.ACCOUNT})

_MAPPED_BITS: Final = 96


def normalise_network(text: str) -> str:
    """Return a network in its canonical form: `10.1.2.3/8` is `10.0.0.0/8`, an address alone is itself.

    An IPv4 network written in IPv6 (RFC 4291 section 2.5.5.2) becomes IPv4, as the gateway reads addresses.
    Raises `ValueError`.
    """
    if "%" in text:
        raise ValueError("a network has no zone")
    network = ip_network(text.strip(), strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = IPv6Address(int(network.network_address)).ipv4_mapped
        if mapped is not None:
            return str(IPv4Network((mapped, network.prefixlen - _MAPPED_BITS)))
    return str(network)


def unique(values: Iterable[str]) -> list[str]:
    """Return the values without repetition, sorted."""
    return sorted({str(value) for value in values})


def first_not_for_keys(scopes: Sequence[str], *, is_of_organization: bool) -> int | None:
    """Return the position of the first scope that such a key may not hold."""
    refused = PERSONS_ONLY_SCOPES | (OPERATOR_ONLY_SCOPES if is_of_organization else frozenset())
    return next((place for place, scope in enumerate(scopes) if scope in refused), None)


def earliest(*moments: datetime | None) -> datetime | None:
    """Return the earliest of the moments that are set."""
    return min((moment for moment in moments if moment is not None), default=None)


def key_kind(scopes: Sequence[str]) -> Literal["api_key", "operator"]:
    """Return the kind of principal that a key with these scopes is."""
    return "operator" if Scope.OPERATOR in scopes else "api_key"


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose keys a caller works on: an organization's, or the operator's own when there is none."""

    principal: Principal
    organization_id: UUID | None
