import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from undercroft.gateway.main import create_app
from undercroft.gateway.settings import GatewaySettings
from undercroft.shared.http_client import InProcessTransport
from undercroft.shared.testing import TEST_SECRET, principal_keys

from .fakes import EchoService, FakeIdentity

PAGES = (
    "/sign-in",
    "/sign-out",
    "/register",
    "/verify-email",
    "/forgot-password",
    "/reset-password",
    "/invitation",
    "/account",
    "/device",
    "/oauth/authorize",
)
"""Where people, and not programs, go."""


def gateway_settings(**values: Any) -> GatewaySettings:
    known: dict[str, Any] = {
        "secret_key": TEST_SECRET,
        "principal_keys": principal_keys("gateway"),
        "identity_url": "http://identity",
        "flags_url": "http://flags",
        "access_log": False,
    }
    return GatewaySettings(**{**known, **values})


class Gateway:
    """A running gateway, the services behind it and a caller in front of it."""

    def __init__(
        self, app: FastAPI, client: httpx.AsyncClient, identity: FakeIdentity, flags: EchoService
    ) -> None:
        self.app = app
        self.client = client
        self.identity = identity
        self.flags = flags


def freeze_limits(gateway: Gateway) -> None:
    """Let no window of a rate limit end during a test."""
    now = time.time()
    gateway.app.state.pipeline._stages.limiter._clock = lambda: now


StartGateway = Callable[..., AbstractAsyncContextManager[Gateway]]


@asynccontextmanager
async def run_gateway(
    transport: httpx.AsyncBaseTransport | None, settings: GatewaySettings
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    app = create_app(settings, transport=transport)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(LifespanManager(app))
        front = InProcessTransport({"gateway": app})
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=front, base_url="http://gateway")
        )
        yield app, client


@pytest.fixture
def start_gateway() -> StartGateway:
    @asynccontextmanager
    async def start(**settings: object) -> AsyncIterator[Gateway]:
        identity, flags = FakeIdentity(), EchoService()
        transport = InProcessTransport({"identity": identity.app, "flags": flags})
        async with run_gateway(transport, gateway_settings(**settings)) as (app, client):
            await asyncio.wait_for(identity.is_followed.wait(), 5)
            yield Gateway(app, client, identity, flags)
        await transport.aclose()

    return start


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> AsyncIterator[Gateway]:
    async with start_gateway() as running:
        yield running
