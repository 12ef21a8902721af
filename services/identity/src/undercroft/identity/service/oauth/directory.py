"""Clients as a replica remembers them, until it hears of a change."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from undercroft.identity.domain.oauth.clients import OWN_CLIENT, Client
from undercroft.identity.repository.oauth.clients import ClientRepository
from undercroft.shared.ids import InvalidIdError, TypeId

# However a change might stay unheard of: the database may be out of this replica's reach alone.
_LIFE_SECONDS: Final = 60.0
_MOST_REMEMBERED: Final = 10_000

OpenClients = Callable[[], AbstractAsyncContextManager[ClientRepository]]


class ClientDirectory:
    """Finds clients without asking the database every time."""

    def __init__(self, open_clients: OpenClients, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._open = open_clients
        self._clock = clock
        self._remembered: dict[str, tuple[Client, float]] = {}
        self._changes = 0

    async def find(self, client_id: str) -> Client | None:
        """Return a client by its `client_id`, None when there is none."""
        if client_id == OWN_CLIENT.client_id:
            return OWN_CLIENT
        remembered = self._remembered.get(client_id)
        if remembered is not None and self._clock() < remembered[1]:
            return remembered[0]
        return await self._read(client_id)

    def forget(self, client_id: str) -> None:
        """Read a client again when it is next asked for."""
        self._changes += 1
        self._remembered.pop(client_id, None)

    def forget_all(self) -> None:
        """Read every client again."""
        self._changes += 1
        self._remembered.clear()

    async def _read(self, client_id: str) -> Client | None:
        try:
            row_id = TypeId.parse(client_id, expect="client").uuid
        except InvalidIdError:
            return None
        changes = self._changes
        async with self._open() as clients:
            client = await clients.find(row_id)
        if client is None:
            self._remembered.pop(client_id, None)
            return None
        if changes == self._changes:  # else it may have been read just before the change that was heard of
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[client_id] = (client, self._clock() + _LIFE_SECONDS)
        return client
