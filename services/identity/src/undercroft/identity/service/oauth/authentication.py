"""How clients prove who they are (RFC 6749 section 2.3)."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.domain.oauth.clients import Client
from undercroft.identity.domain.oauth.parameters import Parameters
from undercroft.identity.domain.oauth.tokens import hash_secret
from undercroft.identity.errors.accounts import TooManyAttemptsError
from undercroft.identity.errors.oauth import InvalidClientError, InvalidRequestError, TooManyGuessesError
from undercroft.identity.service.attempts import Attempts
from undercroft.identity.service.oauth.directory import ClientDirectory

_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="undercroft", charset="UTF-8"'}
# A secret has 256 bits: this spares work and logs rather than secrets.
_GUESSES: Final = AttemptLimit("client-secret", free=20, window_seconds=300, longest_wait_seconds=60)
_LONGEST_SECRET: Final = 512


class Presented(NamedTuple):
    """What a request says about its client."""

    client_id: str
    secret: str | None


class ClientAuthenticator:
    """Recognises clients; the secret is compared by its hash, in constant time."""

    def __init__(
        self, directory: ClientDirectory, attempts: Attempts, *, clock: Callable[[], datetime]
    ) -> None:
        self._directory = directory
        self._attempts = attempts
        self._clock = clock

    async def authenticate(
        self, authorization: Sequence[str], parameters: Parameters, *, address: Callable[[], str]
    ) -> Client:
        """Return the client of a request; raises `InvalidClientError`, `InvalidRequestError`, `TooManyGuessesError`."""
        presented = read_client(authorization, parameters)
        client = await self._directory.find(presented.client_id)
        if client is not None and self._is_proved(client, presented.secret):
            return client
        try:
            await self._attempts.begin(_GUESSES, f"{presented.client_id} {address()}")
        except TooManyAttemptsError as error:
            seconds = int(error.headers["Retry-After"])
            raise TooManyGuessesError("Too many wrong secrets.", retry_after_seconds=seconds) from None
        raise InvalidClientError("The client is unknown or did not prove who it is.", headers=_CHALLENGE)

    def _is_proved(self, client: Client, secret: str | None) -> bool:
        if not client.is_confidential:
            return secret is None
        if secret is None or len(secret) > _LONGEST_SECRET:
            return False
        return client.has_secret(hash_secret(secret), self._clock())


def read_client(authorization: Sequence[str], parameters: Parameters) -> Presented:
    """Read the credentials of a request, which come in one way only."""
    if len(authorization) > 1:
        raise InvalidRequestError("Authorization was sent twice.")
    if parameters.get("client_assertion") is not None or parameters.get("client_assertion_type") is not None:
        raise InvalidClientError("Assertions are not understood here.", headers=_CHALLENGE)
    client_id, secret = parameters.get("client_id"), parameters.get("client_secret")
    if authorization:
        basic = _read_basic(authorization[0])
        if secret is not None or client_id not in {None, basic.client_id}:
            raise InvalidRequestError("The client authenticates in two ways.")
        return basic
    if client_id is None:
        raise InvalidClientError("Which client is this?", headers=_CHALLENGE)
    return Presented(client_id, secret)


def _read_basic(header: str) -> Presented:
    """Read Basic credentials: split at the first colon, then decode both parts as form fields are."""
    scheme, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
        client_id, colon, secret = (unquote_plus(part, errors="strict") for part in text.partition(":"))
    except (ValueError, binascii.Error):
        colon = ""
    if not colon or scheme.lower() != "basic":
        raise InvalidClientError("The credentials cannot be read.", headers=_CHALLENGE)
    return Presented(client_id, secret or None)
