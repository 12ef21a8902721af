"""The order in which a request is read, checked, admitted and answered (contracts/gateway.md)."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from undercroft.gateway.auth.authenticator import Authenticator
from undercroft.gateway.auth.credentials import Credential, Presented
from undercroft.gateway.errors import (
    CredentialsExpiredError,
    CredentialsInvalidError,
    CredentialsMissingError,
    InsufficientScopeError,
    OrganizationNotFoundError,
    QuotaExceededError,
    RouteNotFoundError,
    challenge_for_possession,
)
from undercroft.gateway.limits import Limiter
from undercroft.gateway.proxy.cors import CorsPolicies, preflight_method
from undercroft.gateway.proxy.credentials import credentials_of
from undercroft.gateway.proxy.forward import Forwarder
from undercroft.gateway.proxy.headers import (
    RawHeader,
    RequestHeaders,
    client_address,
    client_scheme,
    network_of,
)
from undercroft.gateway.proxy.passage import CALLER_LEFT, Passage
from undercroft.gateway.proxy.targets import check_method, check_target
from undercroft.gateway.routes_table import AUTHENTICATION_LIMIT, OWN_VIEWS, MatchedRoute, Place, RouteTable
from undercroft.shared.auth import Principal
from undercroft.shared.errors import (
    GatewayTimeoutError,
    InternalError,
    MethodNotAllowedError,
    PayloadTooLargeError,
    ServiceError,
)
from undercroft.shared.http_client import bind_call_context
from undercroft.shared.logs import get_logger, log_access
from undercroft.shared.telemetry import Telemetry

_UNROUTED: Final = "(unrouted)"

_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """What the pipeline is put together from."""

    routes: RouteTable
    authenticator: Authenticator
    limiter: Limiter
    forwarder: Forwarder
    cors: CorsPolicies
    telemetry: Telemetry
    trusted_proxies: Sequence[IPv4Network | IPv6Network]
    access_log: bool


class Pipeline:
    """Raw ASGI around the application that serves the gateway's own views."""

    def __init__(self, app: ASGIApp, *, stages: Stages) -> None:
        self._app = app
        self._stages = stages
        self._authentication_limit = stages.routes.limits[AUTHENTICATION_LIMIT]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        trace = self._stages.telemetry.begin_trace(scope["headers"])
        passage = Passage(scope, receive, send, trace)
        is_forwarded = True
        with self._stages.telemetry.active_request():
            try:
                is_forwarded = await self._pass(passage)
            except ServiceError as error:
                await self._refuse(passage, error)
            except Exception as error:  # the last line of defence: nothing internal may leave the process
                _logger.error("request crashed", exc_info=error, request_id=passage.request_id)  # noqa: TRY400  structlog takes the exception itself
                await self._refuse(passage, InternalError("Something went wrong on our side."))
        if is_forwarded:
            self._record(passage)

    async def _pass(self, passage: Passage) -> bool:
        """Take a request through every step; False when the application behind has recorded it itself."""
        self._read(passage)
        place = self._find(passage)
        if passage.method == "OPTIONS":
            await passage.answer(204, self._options(passage, place))
            return True
        matched = place.by_method.get(passage.method)
        passage.route = matched or place.first
        self._let_browsers_read(passage, passage.route)
        if matched is None:
            raise MethodNotAllowedError(
                f"{passage.method} is not offered here.", headers={"Allow": place.allow}
            )
        has_body = self._check_body(passage, matched)
        if not matched.route.is_anonymous:
            await self._authenticate(passage, matched)
        await self._limit(passage, matched)
        if matched.route.upstream == OWN_VIEWS:
            await self._serve(passage)
            return False
        await self._stages.forwarder.forward(passage, matched.route, has_body=has_body)
        return True

    def _read(self, passage: Passage) -> None:
        scope = passage.scope
        check_method(passage.method)
        path = scope.get("raw_path") or scope["path"].encode()
        passage.query = scope["query_string"]
        passage.path = check_target(path, passage.query)
        passage.headers = RequestHeaders(scope["headers"])
        peer, trusted = passage.address, self._stages.trusted_proxies
        if trusted:
            passage.address = client_address(peer, passage.headers, trusted)
            passage.scheme = client_scheme(peer, passage.scheme, passage.headers, trusted)

    def _find(self, passage: Passage) -> Place:
        place = self._stages.routes.find(passage.path)
        if place is None:
            raise RouteNotFoundError("There is nothing at this path.")
        return place

    def _options(self, passage: Passage, place: Place) -> list[RawHeader]:
        """Return the headers of the answer to OPTIONS: to a browser's question before the actual request, or any."""
        asked = preflight_method(passage.headers.taken)
        passage.route = place.by_method.get(asked or "") or place.first
        rules = self._stages.cors.of(passage.route.route)
        if asked is not None and rules is not None:
            return rules.preflight_headers(passage.headers.taken[b"origin"], place.allow)
        self._let_browsers_read(passage, passage.route)
        return [(b"allow", place.allow.encode("ascii"))]

    def _let_browsers_read(self, passage: Passage, matched: MatchedRoute) -> None:
        origin = passage.headers.get(b"origin")
        if origin is not None and (rules := self._stages.cors.of(matched.route)) is not None:
            passage.extra_headers.extend(rules.headers_for(origin))

    def _check_body(self, passage: Passage, matched: MatchedRoute) -> bool:
        length = passage.headers.content_length()
        if length is not None and length > matched.route.body_limit:
            raise PayloadTooLargeError(f"The body exceeds {matched.route.body_limit} bytes.")
        return length != 0

    async def _authenticate(self, passage: Passage, matched: MatchedRoute) -> None:
        presented = credentials_of(passage, matched.route)
        needed = matched.route.auth
        if presented is None:
            if needed == "optional":
                return
            raise CredentialsMissingError
        try:
            principal = await self._identify(passage, presented)
            if isinstance(needed, frozenset) and not any(principal.has_scope(scope) for scope in needed):
                raise InsufficientScopeError(needed)
        except ServiceError as error:
            if presented.is_bound:
                challenge_for_possession(error)
            raise
        passage.principal = principal

    async def _identify(self, passage: Passage, presented: Presented) -> Principal:
        authenticator = self._stages.authenticator
        credential = authenticator.recall(presented)
        if credential is None:
            credential = await self._verify(passage, presented)
        principal = authenticator.check(credential, presented, passage.address)
        passage.credential = credential
        if presented.is_bound:
            await authenticator.prove(credential, presented, method=passage.method, path=passage.path)
        return principal

    async def _verify(self, passage: Passage, presented: Presented) -> Credential:
        """Ask identity; wrong credentials are counted against their sender's address, so that guessing is slow."""
        limiter, policy = self._stages.limiter, self._authentication_limit
        sender = network_of(passage.address)
        if limiter.is_exhausted(policy, sender):
            raise QuotaExceededError(policy.name, retry_after_seconds=limiter.seconds_to_reset(policy))
        try:
            with bind_call_context(passage.call_context()):
                async with asyncio.timeout(passage.remaining_seconds()):
                    return await self._stages.authenticator.verify(presented)
        except TimeoutError:
            raise GatewayTimeoutError("The request's deadline has passed.") from None
        except CredentialsExpiredError:
            raise
        except (CredentialsInvalidError, OrganizationNotFoundError):
            await limiter.admit(policy, sender)
            raise

    async def _limit(self, passage: Passage, matched: MatchedRoute) -> None:
        policy = matched.limit
        if policy is None:
            return
        if policy.per == "credential" and passage.principal is not None:
            subject = passage.principal.subject
        else:
            subject = network_of(passage.address)
        verdict = await self._stages.limiter.admit(policy, subject)
        passage.extra_headers.extend(verdict.headers())
        if not verdict.is_admitted:
            raise QuotaExceededError(policy.name, retry_after_seconds=verdict.reset_seconds)

    async def _serve(self, passage: Passage) -> None:
        """Let the application behind answer one of the gateway's own views."""
        own_headers = [
            header
            for header in passage.scope["headers"]
            if header[0] not in (b"request-id", b"traceparent", b"tracestate")
        ]
        own_headers.append((b"request-id", passage.request_id.encode("ascii")))
        for name, value in passage.trace.headers().items():
            own_headers.append((name.encode("ascii"), value.encode("ascii")))

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                passage.status = message["status"]
                headers = [header for header in message["headers"] if header[0] != b"request-id"]
                message["headers"] = passage.decorate(headers)
            await passage.send(message)

        await self._app({**passage.scope, "headers": own_headers}, passage.receive, send)

    async def _refuse(self, passage: Passage, error: ServiceError) -> None:
        if error.status >= InternalError.status:
            _logger.warning(
                "request refused",
                code=error.code,
                status=error.status,
                detail=error.detail,
                request_id=passage.request_id,
                cause=type(error.__cause__).__name__ if error.__cause__ else None,
            )
        if not passage.status and not passage.is_gone:
            await passage.refuse(error)

    def _record(self, passage: Passage) -> None:
        stages = self._stages
        seconds = time.perf_counter() - passage.started
        status = CALLER_LEFT if passage.is_gone else passage.status
        template = passage.route.template if passage.route is not None else None
        stages.telemetry.record_request(
            method=passage.method, route=template, status=status, seconds=seconds, trace=passage.trace
        )
        if stages.access_log:
            principal = passage.principal
            log_access(
                method=passage.method,
                path_template=template or _UNROUTED,
                status=status,
                duration_ms=seconds * 1000,
                request_id=passage.request_id,
                trace_id=passage.trace.trace_id,
                principal_id=principal.subject if principal else None,
            )
