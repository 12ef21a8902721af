"""The platform's document as it is served."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
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
        # Beside the event loop: it takes as long as hundreds of requests.
        self._content, self._etag = await asyncio.to_thread(self._make, documents, missing)
        self._fresh_until = time.monotonic() + (_RETRY_SECONDS if missing else _FRESH_SECONDS)

    def _make(self, documents: Mapping[str, Document], missing: Sequence[str]) -> tuple[bytes, str]:
        merged = self._merge({OWN_VIEWS: self._own(), **documents})
        if missing:
            merged[MISSING_EXTENSION] = list(missing)
        content = dumps(merged)
        return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _loader(client: ServiceClient) -> Callable[[], Any]:
    async def load() -> Any:
        answer = await client.send("GET", "/openapi.json")
        return await asyncio.to_thread(loads, answer.content)

    return load
