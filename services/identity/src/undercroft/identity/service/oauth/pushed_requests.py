"""Authorization requests that clients push beforehand (RFC 9126)."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from undercroft.identity.domain.oauth.clients import Client
from undercroft.identity.domain.oauth.parameters import Parameters
from undercroft.identity.domain.oauth.redirect_uris import is_registered
from undercroft.identity.domain.oauth.requests import read_request
from undercroft.identity.domain.oauth.tokens import hash_secret, new_secret
from undercroft.identity.errors.oauth import InvalidRequestError, InvalidRequestUriError
from undercroft.identity.models.oauth import PushedRequest
from undercroft.identity.repository.oauth.codes import CodeRepository

URN: Final = "urn:ietf:params:oauth:request_uri:"
# They prove who the client is, and are no part of the request.
_CREDENTIALS: Final = frozenset({"client_secret", "client_assertion", "client_assertion_type"})
_SIGN_IN: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class PushedAnswer:
    """How a pushed request is named, and for how long."""

    request_uri: str
    expires_in: int


class PushedRequestService:
    """Use cases of pushed requests."""

    def __init__(
        self,
        codes: CodeRepository,
        *,
        known_resources: Collection[str],
        life_seconds: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._codes = codes
        self._known_resources = known_resources
        self._life_seconds = life_seconds
        self._clock = clock

    async def push(self, client: Client, parameters: Parameters, *, thumbprint: str | None) -> PushedAnswer:
        """Check and keep a request; raises what the authorization endpoint would send back."""
        if parameters.get("request_uri") is not None:
            raise InvalidRequestError("A pushed request has no request_uri.")
        redirect_uri = parameters.require("redirect_uri")
        if not is_registered(redirect_uri, client.redirect_uris):
            raise InvalidRequestError("The redirect_uri is not registered.")
        request = read_request(
            client,
            parameters,
            redirect_uri=redirect_uri,
            known_resources=self._known_resources,
            is_pushed=True,
        )
        if thumbprint is not None and request.thumbprint not in {None, thumbprint}:
            raise InvalidRequestError("dpop_jkt is not the key of the proof.")
        values = {name: value for name, value in parameters.values.items() if name not in _CREDENTIALS}
        return await self.keep(client, Parameters(values, parameters.resources), thumbprint=thumbprint)

    async def keep(
        self, client: Client, parameters: Parameters, *, thumbprint: str | None = None
    ) -> PushedAnswer:
        """Keep a request under a name that nobody guesses."""
        secret = new_secret()
        # Whoever authenticates in the header may leave it out of the form.
        values = {**parameters.values, "client_id": client.client_id}
        row = PushedRequest(
            uri_hash=hash_secret(secret),
            client_id=client.row_id,
            parameters={"values": values, "resources": list(parameters.resources)},
            dpop_thumbprint=thumbprint,
            expires_at=self._clock() + timedelta(seconds=self._life_seconds),
        )
        await self._codes.add(row)
        return PushedAnswer(URN + secret, self._life_seconds)

    async def find(self, client: Client, request_uri: str) -> Parameters:
        """Return a pushed request of the client; raises `InvalidRequestUriError`."""
        stored = await self._codes.find_request(_hash(request_uri))
        if stored is None or stored.client_id != client.id or stored.expires_at <= self._clock():
            raise InvalidRequestUriError("The pushed request is unknown, expired or used. Start again.")
        values = dict(stored.parameters["values"])
        if stored.thumbprint is not None:
            values["dpop_jkt"] = stored.thumbprint
        return Parameters(values, tuple(stored.parameters["resources"]))

    async def keep_longer(self, request_uri: str) -> None:
        """Let a request wait while somebody signs in."""
        await self._codes.keep_request(_hash(request_uri), until=self._clock() + _SIGN_IN)

    async def use(self, request_uri: str) -> None:
        """Use a request up; raises `InvalidRequestUriError` when that has happened before."""
        if not await self._codes.use_request(_hash(request_uri)):
            raise InvalidRequestUriError("The pushed request was used before. Start again.")


def _hash(request_uri: str) -> bytes:
    return hash_secret(request_uri.removeprefix(URN))
