"""Possession (RFC 9449 section 7): a token that is bound to a key is good only with a fresh proof of that key."""

import time
from collections.abc import Callable, Iterable

from undercroft.gateway.auth.credentials import Credential, Presented
from undercroft.gateway.errors import ProofInvalidError, TokenBindingError
from undercroft.shared.dpop import UsedProofs, normalize_url, verify_proof
from undercroft.shared.jose import TokenInvalidError


class ProofChecker:
    """Checks proofs against the addresses that the gateway is reached at from outside.

    They come from the settings: a proof that was made for another server must not become good by a `Host` header.
    """

    def __init__(
        self, used: UsedProofs, *, addresses: Iterable[str], clock: Callable[[], float] = time.time
    ) -> None:
        self._used = used
        self._addresses = tuple(address.rstrip("/") for address in addresses)
        self._clock = clock

    async def check(self, credential: Credential, presented: Presented, *, method: str, path: str) -> None:
        """Raise `ProofInvalidError` unless the request carries exactly one good proof of the token's key."""
        if presented.proof is None:
            raise ProofInvalidError("A DPoP header with a proof is needed.")
        urls = {normalize_url(address + path) for address in self._addresses}
        try:
            proof = verify_proof(
                presented.proof,
                method=method,
                urls={url for url in urls if url is not None},
                now=self._clock(),
                access_token=presented.secret,
            )
        except TokenInvalidError as error:
            raise ProofInvalidError(str(error)) from error
        if proof.thumbprint != credential.thumbprint:
            raise TokenBindingError("The token is bound to another key.")
        if not await self._used.is_first_use(proof):
            raise ProofInvalidError("The proof was used before.")
