"""A typed client for another deployable's JSON API: one call in, one model or one `ServiceError` out."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar
from urllib.parse import urlencode, urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from undercroft.shared.auth import PRINCIPAL_HEADER, Principal, PrincipalSigner
from undercroft.shared.errors import (
    PROBLEM_MEDIA_TYPE,
    BadGatewayError,
    GatewayTimeoutError,
    ServiceError,
    UnavailableError,
    error_for_status,
)
from undercroft.shared.http_client.call_context import TIMEOUT_HEADER, current_call_context
from undercroft.shared.http_client.exchange import Exchange, Outgoing, Timeouts, exchange_transport
from undercroft.shared.serialization import dumps, loads

ModelT = TypeVar("ModelT", bound=BaseModel)
Query: TypeAlias = "Mapping[str, str | int] | Sequence[tuple[str, str | int]]"

MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024

_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_FIRST_RETRY_SECONDS = 0.05
_PASSED_ON_HEADERS = ("retry-after", "www-authenticate", "allow")
_OWN_PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "code", "requestId"})
_HTTP_OK = range(200, 300)


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How one call differs from the client's habits.

    `principal` speaks for a caller instead of this deployable itself; `read_seconds` replaces the read timeout
    (long polls); `retries` are made only for idempotent methods or where `is_idempotent` says so, after a
    connect failure or a 503. Answers with a status in `also_accepts` are returned and not raised.
    """

    principal: Principal | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    read_seconds: float | None = None
    retries: int = 0
    is_idempotent: bool = False
    also_accepts: frozenset[int] = frozenset()


_DEFAULTS = CallOptions()


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer, not decoded."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class ServiceClient:
    """Calls one deployable; `audience` is its name in signed principals.

    Every method raises the other side's problem as the same typed `ServiceError`, `UnavailableError` when it
    cannot be reached, `GatewayTimeoutError` when it is late or the request's deadline passes, and
    `BadGatewayError` for any answer that it should never give. The transport belongs to the caller.
    """

    def __init__(
        self,
        base_url: str,
        *,
        transport: httpx.AsyncBaseTransport,
        audience: str,
        signer: PrincipalSigner | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{base_url!r} is not an http(s) URL")
        self.audience = audience
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._prefix = parts.path.rstrip("/")
        self._host = parts.netloc.encode("ascii")
        self._exchanges = exchange_transport(transport)
        self._signer = signer
        self._timeouts = timeouts or Timeouts()

    async def get(
        self, path: str, answer: type[ModelT], *, query: Query = (), options: CallOptions = _DEFAULTS
    ) -> ModelT:
        """GET a document and decode it."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self._decode(await self.send("GET", target, options=options), answer)

    async def post(
        self, path: str, answer: type[ModelT], *, body: BaseModel | object, options: CallOptions = _DEFAULTS
    ) -> ModelT:
        """POST a model or a JSON value and decode the answer."""
        return self._decode(await self.send("POST", path, body=body, options=options), answer)

    async def send(
        self, method: str, target: str, *, body: BaseModel | object = None, options: CallOptions = _DEFAULTS
    ) -> Answer:
        """Send a request and return its successful answer undecoded (bounded in size)."""
        content = _encode(body)
        may_retry = options.is_idempotent or method in _IDEMPOTENT_METHODS
        attempts = 1 + (options.retries if may_retry else 0)
        for attempt in range(attempts):
            try:
                return await self._attempt(method, target, content, options)
            except UnavailableError:
                if attempt + 1 >= attempts:
                    raise
            await asyncio.sleep(_FIRST_RETRY_SECONDS * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311  jitter
        raise AssertionError("unreachable")  # pragma: no cover

    async def _attempt(self, method: str, target: str, content: bytes, options: CallOptions) -> Answer:
        remaining = current_call_context().remaining_seconds()
        if remaining is not None and remaining <= 0:
            raise GatewayTimeoutError("The request's deadline has passed.")
        headers = self._headers(options, has_body=bool(content), remaining=remaining)
        outgoing = Outgoing(
            method, self._origin, self._prefix + target, headers, content, self._timeouts_for(options)
        )
        try:
            async with asyncio.timeout(remaining):
                exchange = await self._exchanges.open(outgoing)
                try:
                    return await self._receive(exchange, options)
                finally:
                    await exchange.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise UnavailableError(f"The {self.audience} service cannot be reached.") from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise GatewayTimeoutError(f"The {self.audience} service did not answer in time.") from error
        except httpx.TransportError as error:
            raise self._bad_answer("broke off") from error

    def _headers(
        self, options: CallOptions, *, has_body: bool, remaining: float | None
    ) -> list[tuple[bytes, bytes]]:
        headers = [(b"host", self._host), (b"accept", b"application/json")]
        if has_body:
            headers.append((b"content-type", b"application/json"))
        for name, value in {**self._context_headers(options, remaining), **options.headers}.items():
            headers.append((name.lower().encode("ascii"), value.encode()))
        return headers

    def _context_headers(self, options: CallOptions, remaining: float | None) -> dict[str, str]:
        context = current_call_context()
        headers: dict[str, str] = {}
        if self._signer is not None and options.principal is not None:
            headers[PRINCIPAL_HEADER] = self._signer.header_for(options.principal, self.audience)
        elif self._signer is not None:
            headers[PRINCIPAL_HEADER] = self._signer.service_header_for(self.audience)
        if context.request_id is not None:
            headers["Request-Id"] = context.request_id
        if context.trace is not None:
            headers.update(context.trace.child().headers())
        if remaining is not None:
            headers[TIMEOUT_HEADER] = str(int(remaining * 1000))
        return headers

    def _timeouts_for(self, options: CallOptions) -> Timeouts:
        if options.read_seconds is None:
            return self._timeouts
        own = self._timeouts
        return Timeouts(connect=own.connect, read=options.read_seconds, write=own.write, pool=own.pool)

    async def _receive(self, exchange: Exchange, options: CallOptions) -> Answer:
        content = bytearray()
        while chunk := await exchange.read():
            content += chunk
            if len(content) > MAX_RESPONSE_BYTES:
                raise self._bad_answer("answered too much")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers}
        if exchange.status in _HTTP_OK or exchange.status in options.also_accepts:
            return Answer(exchange.status, headers, bytes(content))
        raise self._error_from(exchange.status, headers, bytes(content))

    def _error_from(self, status: int, headers: Mapping[str, str], content: bytes) -> ServiceError:
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            problem = loads(content) if media_type == PROBLEM_MEDIA_TYPE else None
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            return self._bad_answer(f"answered {status} without a problem document")
        code, detail = problem.get("code"), problem.get("detail")
        error = error_for_status(
            status,
            detail if isinstance(detail, str) else "",
            code=code if isinstance(code, str) else None,
        )
        error.headers.update({name.title(): headers[name] for name in _PASSED_ON_HEADERS if name in headers})
        error.extensions.update(
            {name: value for name, value in problem.items() if name not in _OWN_PROBLEM_MEMBERS}
        )
        return error

    def _decode(self, answer: Answer, model: type[ModelT]) -> ModelT:
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            raise self._bad_answer("answered what it should not") from error

    def _bad_answer(self, what: str) -> BadGatewayError:
        return BadGatewayError(f"The {self.audience} service {what}.")


def _encode(body: BaseModel | object) -> bytes:
    if body is None:
        return b""
    if isinstance(body, BaseModel):
        return body.model_dump_json(by_alias=True).encode()
    return dumps(body)
