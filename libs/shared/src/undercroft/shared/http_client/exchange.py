"""One HTTP exchange, streamed both ways: the narrow door through which every transport is used.

`httpx.AsyncClient` costs more than the call itself (DESIGN section 6), so hot paths use this protocol. The
network and in-process transports speak it natively; any other HTTPX transport (respx, `httpx.MockTransport`) is
wrapped by `exchange_transport`. Failures are HTTPX's exceptions everywhere.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import httpx
from typing_extensions import override

RawHeaders: TypeAlias = "Sequence[tuple[bytes, bytes]]"
Body: TypeAlias = "bytes | AsyncIterable[bytes]"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase; `read` bounds each wait for headers or for the next chunk, never the whole answer."""

    connect: float | None = 2.0
    read: float | None = 10.0
    write: float | None = 10.0
    pool: float | None = 2.0


_DEFAULT_TIMEOUTS = Timeouts()


class Outgoing(NamedTuple):
    """A request to send.

    `origin` is `scheme://host[:port]`; `target` (path and query, percent-encoded) is sent as it is.
    """

    method: str
    origin: str
    target: str
    headers: RawHeaders = ()
    body: Body = b""
    timeouts: Timeouts = _DEFAULT_TIMEOUTS


class Exchange(Protocol):
    """An answer whose headers have arrived; header names are lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]

    async def read(self) -> bytes:
        """Return the next non-empty chunk, or `b""` at the end; raises an `httpx.TransportError` when cut."""

    async def aclose(self) -> None:
        """Release the connection; before the end this tells the other side that nobody listens any more."""


@runtime_checkable
class ExchangeTransport(Protocol):
    """A transport that opens exchanges without HTTPX's request and response objects."""

    async def open(self, request: Outgoing) -> Exchange:
        """Send a request and return once the answer's headers are there.

        An exception of the body iterator is raised here unchanged.
        """


def exchange_transport(transport: httpx.AsyncBaseTransport) -> ExchangeTransport:
    """Return the transport itself when it speaks the protocol, or else an adapter around it."""
    return transport if isinstance(transport, ExchangeTransport) else _Adapter(transport)


class ExchangeBaseTransport(httpx.AsyncBaseTransport, ABC):
    """Serves HTTPX itself on top of `open`."""

    @abstractmethod
    async def open(self, request: Outgoing) -> Exchange:
        """Open an exchange; see `ExchangeTransport.open`."""

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        exchange = await self.open(
            Outgoing(
                request.method,
                f"{url.scheme}://{url.netloc.decode('ascii')}",
                url.raw_path.decode("ascii"),
                request.headers.raw,
                _body_of(request),
                Timeouts(**request.extensions.get("timeout", {})),
            )
        )
        return httpx.Response(
            exchange.status, headers=exchange.headers, stream=_ExchangeStream(exchange), request=request
        )


class _ExchangeStream(httpx.AsyncByteStream):
    """An exchange's body as HTTPX wants it."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._exchange.read():
            yield chunk

    @override
    async def aclose(self) -> None:
        await self._exchange.aclose()


class _Adapter:
    """Any other HTTPX transport behind the protocol."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def open(self, request: Outgoing) -> Exchange:
        converted = httpx.Request(
            request.method,
            request.origin + request.target,
            headers=list(request.headers),
            content=request.body or None,
            extensions={"timeout": asdict(request.timeouts)},
        )
        return _ResponseExchange(await self._transport.handle_async_request(converted))


class _ResponseExchange:
    """An `httpx.Response` as an exchange; content encodings stay as they are."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = [(name.lower(), value) for name, value in response.headers.raw]
        self._response = response
        self._chunks = response.aiter_raw() if not response.is_closed else _once(response.content)

    async def read(self) -> bytes:
        async for chunk in self._chunks:
            if chunk:
                return chunk
        return b""

    async def aclose(self) -> None:
        await self._response.aclose()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _body_of(request: httpx.Request) -> Body:
    try:
        return request.content
    except httpx.RequestNotRead:
        stream = request.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("this transport sends bytes and asynchronous streams") from None
        return stream
