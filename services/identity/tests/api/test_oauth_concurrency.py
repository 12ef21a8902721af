"""Two at the same moment, on a real database: exactly one wins."""

import asyncio
from collections import Counter

import httpx
import pytest
from asgi_lifespan import LifespanManager
from services.identity.tests.conftest import client_of
from services.identity.tests.factories import OPERATOR, settings
from services.identity.tests.oauth_flows import (
    code_for,
    exchange,
    post_token,
    register,
    tokens_for,
    visitor,
)
from sqlalchemy import func, select

from undercroft.identity.main import create_app
from undercroft.identity.models.sessions import Grant, RefreshToken


async def test_concurrent_refreshes_have_one_successor(live_url: str):
    app = create_app(settings(live_url))
    async with LifespanManager(app), client_of(app) as client:
        console = await register(client)
        tokens = await tokens_for(client, console, await visitor(app.state.database))
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        answers = await asyncio.gather(*(post_token(client, console, form) for _ in range(8)))
        async with app.state.database.session() as session:
            stored = await session.scalar(select(func.count()).select_from(RefreshToken))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert len({answer.json()["access_token"] for answer in answers}) == 8
    assert stored == 2


async def test_concurrent_refreshes_without_grace_end_the_grant(live_url: str):
    app = create_app(settings(live_url, refresh_token_grace_seconds=0))
    async with LifespanManager(app), client_of(app) as client:
        console = await register(client)
        tokens = await tokens_for(client, console, await visitor(app.state.database))
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        answers = await asyncio.gather(*(post_token(client, console, form) for _ in range(4)))
        async with app.state.database.session() as session:
            stored = await session.scalar(select(func.count()).select_from(Grant))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 3}
    assert stored == 0


async def test_a_code_is_exchanged_once_however_many_try(live_url: str):
    app = create_app(settings(live_url))
    async with LifespanManager(app), client_of(app) as client:
        console = await register(client)
        code = await code_for(client, console, await visitor(app.state.database))
        answers = await asyncio.gather(*(exchange(client, console, code) for _ in range(6)))
        won = next(answer for answer in answers if answer.status_code == 200)
        told = await client.post(
            "/oauth/introspect", data={"token": won.json()["access_token"]}, headers=console.basic
        )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 5}
    assert told.json() == {"active": False}


async def test_a_replica_forgets_a_client_that_another_changed(live_url: str):
    apps = [create_app(settings(live_url)) for _ in range(2)]
    async with (
        LifespanManager(apps[0]),
        LifespanManager(apps[1]),
        client_of(apps[0]) as here,
        client_of(apps[1]) as there,
    ):
        console = await register(here)
        form = {"grant_type": "client_credentials"}
        assert (await post_token(there, console, form)).status_code == 200
        await here.delete(f"/v1/oauth-clients/{console.id}", headers=OPERATOR)
        async with asyncio.timeout(2):
            while (await post_token(there, console, form)).status_code == 200:  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.02)


async def test_a_database_that_is_away_is_a_503_in_the_standards_words():
    app = create_app(settings("postgresql+asyncpg://nobody@127.0.0.1:1/nowhere"))
    async with LifespanManager(app), client_of(app) as client:
        answer = await client.post(
            "/oauth/token",
            data={"grant_type": "client_credentials", "client_id": "client_01h455vb4pex5vsknk084sn02q"},
        )
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["Content-Type"] == "application/json"
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/introspect"])
async def test_requests_go_on_while_keys_rotate(live_url: str, path: str):
    from undercroft.identity.main import signing_keys

    app = create_app(settings(live_url))
    async with LifespanManager(app), client_of(app) as client:
        console = await register(client)
        answers: list[httpx.Response] = []

        async def use() -> None:
            for _ in range(40):
                issued = await post_token(client, console, {"grant_type": "client_credentials"})
                answers.append(issued)
                if path == "/oauth/introspect":
                    form = {"token": issued.json()["access_token"]}
                    answers.append(await client.post(path, data=form, headers=console.basic))

        await asyncio.gather(use(), use(), signing_keys(settings(live_url), rotate=True))
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.json().get("active", True) for answer in answers)


async def test_a_storm_before_the_signing_keys_are_loaded_waits_for_them(live_url: str):
    app = create_app(settings(live_url, database_pool_size=1))
    async with LifespanManager(app), client_of(app) as client:
        console = await register(client)
        person = await visitor(app.state.database)
        issued = [await tokens_for(client, console, person) for _ in range(3)]
        vars(app.state.key_ring)["_keys"] = {}

        async def ask(path: str, token: str) -> httpx.Response:
            return await client.post(path, data={"token": token}, headers=console.basic)

        async def ask_for_tokens(grant_type: str, **form: str) -> httpx.Response:
            return await post_token(client, console, {"grant_type": grant_type, **form})

        answers = await asyncio.gather(
            *(ask_for_tokens("refresh_token", refresh_token=each["refresh_token"]) for each in issued),
            *(ask_for_tokens("client_credentials") for _ in issued),
            *(ask("/oauth/introspect", each["access_token"]) for each in issued),
            *(client.post("/oauth/userinfo", data={"access_token": each["access_token"]}) for each in issued),
            *(ask("/oauth/revoke", each["id_token"]) for each in issued),
        )
    assert [answer.status_code for answer in answers] == [200] * 12 + [400] * 3
