"""The gateway's composition root: settings in, application out. Nothing happens at import."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, cast

import httpx
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from undercroft.gateway.auth.authenticator import Authenticator
from undercroft.gateway.auth.identity_client import IdentityClient
from undercroft.gateway.auth.key_set import SigningKeys
from undercroft.gateway.auth.memory import Retention
from undercroft.gateway.auth.proofs import ProofChecker
from undercroft.gateway.auth.resolving import KeyResolver, TokenResolver
from undercroft.gateway.auth.stream_tokens import StreamTokenResolver, StreamTokenVerifier
from undercroft.gateway.auth.tokens import TokenVerifier
from undercroft.gateway.compositions.status import StatusComposition, StatusPage
from undercroft.gateway.limits import Limiter
from undercroft.gateway.openapi.document import MergedDocument
from undercroft.gateway.proxy.cors import CorsPolicies
from undercroft.gateway.proxy.forward import Forwarder, Upstream
from undercroft.gateway.proxy.pipeline import Pipeline, Stages
from undercroft.gateway.proxy.streams import OpenStreams, Ways
from undercroft.gateway.routes import router
from undercroft.gateway.routes_table import RoutesError, RouteTable, load_routes
from undercroft.gateway.settings import GatewaySettings
from undercroft.shared.app import VERSION, create_service_app
from undercroft.shared.auth import PrincipalKeys, PrincipalSigner
from undercroft.shared.cache import close_cache, make_cache
from undercroft.shared.command import run_command
from undercroft.shared.dpop import UsedProofs
from undercroft.shared.events import CloudEvent
from undercroft.shared.events.followers import HttpFeedClient, follow_in_memory
from undercroft.shared.health import ReadinessCheck, run_checks
from undercroft.shared.http_client import NetworkLimits, ServiceClient, exchange_transport, make_transport
from undercroft.shared.logs import get_logger
from undercroft.shared.serialization import JsonValue
from undercroft.shared.settings import SettingsError
from undercroft.shared.stream_tokens import StreamTokenReader
from undercroft.shared.telemetry import Telemetry
from undercroft.shared.workers import Supervisor

SIGNING_KEY_EVENTS: Final = "dev.undercroft.signing_key."
STREAMING_SERVICE: Final = "flags"


def create_app(settings: GatewaySettings, *, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Build the gateway. A transport that is given stays its giver's to close.

    Raises `SettingsError` when the routes cannot be served.
    """
    urls = settings.upstream_urls()
    try:
        routes = load_routes(urls)
    except RoutesError as error:
        raise SettingsError(str(error)) from None
    parts = _Parts(settings, transport or make_transport(_limits(settings)), owns_transport=transport is None)
    app = create_service_app(
        settings,
        description="The only public door: authenticates, limits, forwards and composes.",
        routers=[router],
        lifespan=parts.lifespan,
        application_class=_Door,
    )
    parts.connect(app.state.principal_signer, urls)
    app.state.status = StatusComposition(parts.clients, lambda: _own_readiness(app))
    app.state.status_page = StatusPage()
    app.state.merged_document = MergedDocument(
        parts.clients, routes, own=app.openapi, version=VERSION, issuer=settings.issuer
    )
    stages = parts.stages(routes, app.state.principal_signer, app.state.telemetry, urls)
    app.state.pipeline = Pipeline(partial(FastAPI.__call__, app), stages=stages)
    return app


class _Door(FastAPI):
    """The application with the pipeline in front of everything that FastAPI does.

    FastAPI's own `__call__` and five layers come before the first middleware; what is forwarded needs none of them.
    """

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.state.pipeline(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class _Parts:
    """What one gateway is made of, and how it is opened and closed."""

    def __init__(
        self, settings: GatewaySettings, transport: httpx.AsyncBaseTransport, *, owns_transport: bool
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._owns_transport = owns_transport
        # A stream keeps its connection for as long as it is open, so streams have connections of their own.
        self._stream_transport = make_transport(_stream_limits(settings)) if owns_transport else transport
        self._streams = OpenStreams(limit=settings.streams)
        self._limits = make_cache(settings.redis_url, prefix="gateway", memory_size=settings.limit_subjects)
        self._local_limits = make_cache(None, prefix="gateway", memory_size=settings.limit_subjects)
        self._proofs = make_cache(settings.redis_url, prefix="gateway", memory_size=settings.dpop_proofs)
        self._local_proofs = make_cache(None, prefix="gateway", memory_size=settings.dpop_proofs)
        self.clients: dict[str, ServiceClient] = {}

    def connect(self, signer: PrincipalSigner, urls: Mapping[str, str]) -> None:
        """Make the clients of every service; nothing is sent yet."""
        self.clients = {
            name: ServiceClient(url, transport=self._transport, audience=name, signer=signer)
            for name, url in urls.items()
        }
        self._authenticator = self._make_authenticator()

    def _make_authenticator(self) -> Authenticator:
        settings = self._settings
        identity = IdentityClient(self.clients["identity"], wait_seconds=settings.credential_wait_seconds)
        self._signing_keys = SigningKeys(identity, on_withdrawn=self._forget)
        own_names = (settings.issuer, *settings.resources)
        verifier = TokenVerifier(self._signing_keys, issuer=settings.issuer, audiences=own_names)
        stream_tokens = StreamTokenReader(STREAMING_SERVICE, PrincipalKeys(settings.principal_keys))
        used_proofs = UsedProofs(self._proofs, self._local_proofs, prefix="gateway")
        return Authenticator(
            keys=KeyResolver(identity),
            tokens=TokenResolver(verifier, identity),
            streams=StreamTokenResolver(StreamTokenVerifier(stream_tokens), identity),
            proofs=ProofChecker(used_proofs, addresses=own_names),
            retention=Retention(
                size=settings.credential_cache_size,
                fresh_seconds=settings.credential_fresh_seconds,
                stale_seconds=settings.credential_stale_seconds,
            ),
        )

    def stages(
        self, routes: RouteTable, signer: PrincipalSigner, telemetry: Telemetry, urls: Mapping[str, str]
    ) -> Stages:
        """Return the pipeline's stages."""
        settings = self._settings
        return Stages(
            routes=routes,
            authenticator=self._authenticator,
            limiter=Limiter(self._limits, self._local_limits, subjects=settings.limit_subjects),
            forwarder=Forwarder(
                Ways(
                    exchange_transport(self._transport),
                    exchange_transport(self._stream_transport),
                    self._streams,
                ),
                {name: Upstream.at(name, url) for name, url in urls.items()},
                signer,
                body_read_seconds=settings.body_read_seconds,
            ),
            cors=CorsPolicies(settings.cors_origins),
            telemetry=telemetry,
            trusted_proxies=settings.trusted_proxies,
            access_log=settings.access_log,
        )

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Follow identity's feed while the gateway runs; close what was opened."""
        async with AsyncExitStack() as stack:
            if self._owns_transport:
                stack.push_async_callback(self._transport.aclose)
                stack.push_async_callback(self._stream_transport.aclose)
            for cache in (self._limits, self._local_limits, self._proofs, self._local_proofs):
                stack.push_async_callback(close_cache, cache)
            supervisor = Supervisor(get_logger(__name__))
            stack.push_async_callback(supervisor.stop)
            supervisor.start("identity feed", self._follow_identity)
            supervisor.start("signing keys", self._signing_keys.keep_fresh)
            supervisor.start(
                "streams", lambda: self._streams.end_when_draining(lambda: app.state.is_draining)
            )
            if self._settings.redis_url is not None:
                app.state.readiness_checks.append(ReadinessCheck("redis", self._ping, required=False))
            yield

    async def _follow_identity(self) -> None:
        feed = HttpFeedClient(self.clients["identity"])
        await follow_in_memory(feed, self._handle_event, on_gap=self._start_afresh)

    def _forget(self, kid: str) -> None:
        self._authenticator.forget(kid)

    async def _handle_event(self, event: CloudEvent) -> None:
        if event.type.startswith(SIGNING_KEY_EVENTS):
            self._signing_keys.refresh_soon()  # not awaited: revocations wait behind this event
        else:
            self._authenticator.handle_event(event)
            if self._authenticator.is_stale_after(event):
                self._streams.end(event.subject)

    async def _start_afresh(self) -> None:
        self._authenticator.forget_everything()
        self._streams.end_all()
        self._signing_keys.refresh_soon()

    async def _ping(self) -> None:
        await self._limits.ping()


def _limits(settings: GatewaySettings) -> NetworkLimits:
    return NetworkLimits(max_requests=settings.upstream_connections)


def _stream_limits(settings: GatewaySettings) -> NetworkLimits:
    return NetworkLimits(max_requests=settings.streams, max_idle_per_origin=1)


async def _own_readiness(app: FastAPI) -> JsonValue:
    status, checks = await run_checks(app.state.readiness_checks)
    return {"status": status, "checks": cast("JsonValue", checks)}


def main() -> None:
    """Run `undercroft-gateway serve|openapi`."""
    run_command(GatewaySettings, create_app, package="undercroft.gateway")


if __name__ == "__main__":
    main()
