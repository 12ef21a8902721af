"""What a request presents, and what it opens once it is verified."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, NamedTuple

from undercroft.shared.auth import Principal
from undercroft.shared.tokens import hash_token

KEY_PREFIX: Final = "uc_"


class Presented(NamedTuple):
    """What a request presents; `organization` is the header that says which one it wants to act in, unchecked.

    `proof` is the `DPoP` header; it counts only where the scheme is DPoP (`is_bound`). A stream token stood in the
    query of a route that takes one.
    """

    secret: str
    organization: str | None = None
    is_bound: bool = False
    proof: str | None = None
    is_stream_token: bool = False

    @property
    def is_key(self) -> bool:
        """Tell whether this is an API key; anything else is an access token, or nothing."""
        return self.secret.startswith(KEY_PREFIX) and not self.is_stream_token

    def digest(self) -> bytes:
        """Return what it is remembered by: a token opens something else in each organization, a key does not.

        A stream token in a header must not be taken for the same one that was seen in a query.
        """
        if self.is_stream_token:
            return hash_token(f"stream\n{self.secret}")
        if self.organization is None or self.is_key:
            return hash_token(self.secret)
        return hash_token(f"{self.organization}\n{self.secret}")


@dataclass(frozen=True, slots=True)
class Credential:
    """A verified credential, ready for use: checked at every use for expiry, address and possession.

    An event about any of `tags` makes it forgotten. `thumbprint` is that of the key whose holder alone may use it.
    What a credential that `only_opens` has opened outlives it.
    """

    principal: Principal
    verified_at: float
    expires_at: float | None
    networks: tuple[IPv4Network | IPv6Network, ...]
    tags: tuple[str, ...]
    thumbprint: str | None = None
    only_opens: bool = False

    def admits(self, address: str) -> bool:
        """Tell whether the credential may be used from an address."""
        if not self.networks:
            return True
        try:
            peer = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(peer, "ipv4_mapped", None)
        return any((mapped or peer) in network for network in self.networks)
