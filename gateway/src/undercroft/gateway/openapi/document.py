"""The platform's document as it is served."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from undercroft.gateway.compositions.engine import Part, run_parts
from undercroft.gateway.openapi.merging import merge
from undercroft.gateway.openapi.security import Document
from undercroft.gateway.routes_table import OWN_VIEWS, RouteTable
from undercroft.shared.http_client import ServiceClient
from undercroft.shared.serialization import dumps, loads

MISSING_EXTENSION: Final = "x-undercroft-missing"

_FETCH_SECONDS = 5.0
_FRESH_SECONDS = 60.0
_RETRY_SECONDS = 2.0


class MergedDocument:
    """The platform's document, fetched when asked for and kept for a minute; an incomplete one for two seconds."""

    def __init__(
        self,
        clients: Mapping[str, ServiceClient],
        routes: RouteTable,
        *,
        own: Callable[[], Document],
        version: str,
        issuer: str,
    ) -> None:
        self._clients = clients
        self._own = own
        self._merge = partial(merge, routes=routes, version=version, issuer=issuer)
        self._content = b""
        self._etag = ""
        self._fresh_until = 0.0
        self._lock = asyncio.Lock()

    async def read(self) -> tuple[bytes, str]:
        """Return the document as JSON, and its entity tag."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                await self._fetch()
        return self._content, self._etag

    async def _fetch(self) -> None:
        parts = [
            Part(name=name, load=_loader(client), timeout_seconds=_FETCH_SECONDS)
            for name, client in self._clients.items()
        ]
        outcomes = await run_parts(parts)
        documents: dict[str, Document] = {
            name: outcome.value for name, outcome in outcomes.items() if isinstance(outcome.value, dict)
        }
        missing = sorted(set(outcomes) - set(documents))
        merged = self._merge({OWN_VIEWS: self._own(), **documents})
        if missing:
            merged[MISSING_EXTENSION] = missing
        self._content = dumps(merged)
        self._etag = f'"{hashlib.sha256(self._content).hexdigest()[:32]}"'
        self._fresh_until = time.monotonic() + (_RETRY_SECONDS if missing else _FRESH_SECONDS)


def _loader(client: ServiceClient) -> Callable[[], Any]:
    async def load() -> Any:
        return loads((await client.send("GET", "/openapi.json")).content)

    return load
