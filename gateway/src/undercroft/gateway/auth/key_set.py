"""Identity's public signing keys: fetched ahead of time, kept while identity is away, asked for again with a limit."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from undercroft.shared.errors import BadGatewayError, ServiceError, UnavailableError
from undercroft.shared.jose import ASYMMETRIC_ALGORITHMS, PublicKey, TokenInvalidError, import_public_key
from undercroft.shared.logs import get_logger
from undercroft.shared.serialization import JsonValue, loads

REFRESH_SECONDS: Final = 300.0
REFETCH_SECONDS: Final = 5.0

_FIRST_RETRY_SECONDS = 0.2
_MOST_DOUBLINGS = 6
_MOST_KEYS = 100

_logger = get_logger(__name__)


class KeySetSource(Protocol):
    """Where the keys come from."""

    async def fetch_key_set(self) -> bytes:
        """Return a JWK set (RFC 7517 section 5) as JSON."""


class SigningKeys:
    """The key set, by `kid`. `on_withdrawn` hears of every key that is no longer in it."""

    def __init__(
        self,
        source: KeySetSource,
        *,
        on_withdrawn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._on_withdrawn = on_withdrawn
        self._clock = clock
        self._keys: dict[str, PublicKey] = {}
        self._is_current = False
        self._next_refetch = 0.0
        self._fetching: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()

    async def find(self, kid: str) -> PublicKey | None:
        """Return the key of this name, or None when identity knows no such key.

        An unknown name is asked about once in `REFETCH_SECONDS`, whoever sends it. Raises `UnavailableError` when
        identity cannot be asked.
        """
        if kid not in self._keys and (self._fetching is not None or self._clock() >= self._next_refetch):
            self._next_refetch = self._clock() + REFETCH_SECONDS
            await self.refresh()
        key = self._keys.get(kid)
        if key is None and not self._is_current:
            raise UnavailableError("Access tokens cannot be checked right now.")
        return key

    async def refresh(self) -> bool:
        """Fetch the keys, once for everybody who wants them at the same time; False when the old ones stay."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.shield(self._fetching)
        return self._is_current

    def refresh_soon(self) -> None:
        """Let `keep_fresh` fetch the keys now: they have changed."""
        self._wanted.set()

    async def keep_fresh(self) -> None:
        """Fetch the keys from time to time, for ever; soon again while identity is away."""
        failures = 0
        while True:
            self._wanted.clear()
            failures = 0 if await self.refresh() else failures + 1
            retry = _FIRST_RETRY_SECONDS * 2 ** min(failures, _MOST_DOUBLINGS)
            try:
                async with asyncio.timeout(retry if failures else REFRESH_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _fetch(self) -> None:
        try:
            keys = _read(await self._source.fetch_key_set())
        except ServiceError as error:
            if self._is_current:
                _logger.warning("signing keys not refreshed", code=error.code, detail=error.detail)
            self._is_current = False
        else:
            withdrawn = self._keys.keys() - keys.keys()
            self._keys, self._is_current = keys, True
            for kid in withdrawn:
                self._on_withdrawn(kid)
        finally:
            self._fetching = None


def _read(content: bytes) -> dict[str, PublicKey]:
    """Read a key set; keys that are not for signatures, or not understood, are left out (RFC 7517 section 5)."""
    try:
        document = loads(content)
    except ValueError:
        document = None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise BadGatewayError("The identity service gave no key set.")
    found = {}
    for entry in entries[:_MOST_KEYS]:
        if isinstance(entry, dict) and _is_for_signatures(entry):
            try:
                found[str(entry["kid"])] = import_public_key(entry)
            except TokenInvalidError as error:
                _logger.warning("signing key left out", reason=str(error))
    return found


def _is_for_signatures(entry: dict[str, JsonValue]) -> bool:
    return (
        isinstance(entry.get("kid"), str)
        and entry.get("use") in (None, "sig")
        and entry.get("alg") in ASYMMETRIC_ALGORITHMS
    )
