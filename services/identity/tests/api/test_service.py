"""The whole service: its lifespan, workers, feed and commands over a database of its own."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr
from services.identity.tests.factories import GATEWAY, OPERATOR, create_key, outcome, settings, verify

from undercroft.identity.dependencies.api_keys import operator_key_service
from undercroft.identity.main import ensure_operator_key, main, open_database
from undercroft.identity.service.verification import LastUses
from undercroft.identity.worker.api_keys import write_last_uses, write_last_words
from undercroft.shared.db import Database
from undercroft.shared.errors import UnavailableError
from undercroft.shared.ids import new_uuid7
from undercroft.shared.settings import SettingsError
from undercroft.shared.tokens import mint_token, parse_token

Replica = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
FEED = "/internal/events"
AWAY = "postgresql+asyncpg://nobody@127.0.0.1:1/nowhere"


async def until_verified(client: httpx.AsyncClient, secret: str) -> httpx.Response:
    async with asyncio.timeout(5):
        while (answer := await verify(client, secret)).status_code != 200:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.05)
    return answer


async def test_a_revocation_reaches_a_waiting_follower_at_once(replica: Replica):
    async with replica() as client:
        key = await create_key(client)
        cursor = (await client.get(FEED, headers=GATEWAY)).json()["nextCursor"]
        poll = asyncio.create_task(client.get(FEED, params={"after": cursor, "wait": 20}, headers=GATEWAY))
        await asyncio.sleep(0.2)
        await client.delete(f"/v1/api-keys/{key['id']}", headers=OPERATOR)
        async with asyncio.timeout(10):
            (event,) = (await poll).json()["items"]
    assert (event["type"], event["subject"]) == ("dev.undercroft.api_key.revoked", key["id"])


async def test_the_service_is_ready_with_its_database(replica: Replica):
    async with replica() as client:
        ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "pass")
    assert "database" in ready.json()["checks"]


async def test_the_operator_key_of_the_settings_is_registered_at_start(replica: Replica):
    secret = mint_token("live", new_uuid7()).text
    for _ in range(2):
        async with replica(operator_key=SecretStr(secret)) as client:
            verified = await until_verified(client, secret)
    listed = []
    async with replica() as client:
        listed = (await client.get("/v1/api-keys", headers=OPERATOR)).json()["items"]
    assert verified.json()["kind"] == "operator"
    assert [item["name"] for item in listed] == ["Operator key from settings"]


async def test_a_replaced_secret_of_the_settings_ends_the_old_one(replica: Replica):
    first = mint_token("live", new_uuid7())
    second = mint_token("live", first.id)
    async with replica(operator_key=SecretStr(first.text)) as client:
        await until_verified(client, first.text)
    async with replica(operator_key=SecretStr(second.text)) as client:
        await until_verified(client, second.text)
        assert outcome(await verify(client, first.text)) == (404, "api_key_invalid")


async def test_a_secret_that_the_settings_replace_is_new(client: httpx.AsyncClient, database: Database):
    first = mint_token("live", new_uuid7())
    ages = []
    for secret in (first, mint_token("live", first.id)):
        async with database.begin() as session:
            await operator_key_service(session).register(secret.text)
        (key,) = (await client.get("/v1/api-keys", headers=OPERATOR)).json()["items"]
        ages.append(key["secretCreatedAt"] == key["createdAt"])
    assert ages == [True, False]


async def test_the_present_secret_from_the_settings_ends_the_one_before(
    client: httpx.AsyncClient, database: Database
):
    key = await create_key(client, scopes=["operator"])
    path = f"/v1/api-keys/{key['id']}"
    rotated = (await client.post(f"{path}/rotate", json={}, headers=OPERATOR)).json()
    async with database.begin() as session:
        assert await operator_key_service(session).register(rotated["secret"]) is True
    shown = (await client.get(path, headers=OPERATOR)).json()
    assert (shown["secretCreatedAt"], shown["previousExpiresAt"]) == (rotated["secretCreatedAt"], None)
    assert outcome(await verify(client, key["secret"])) == (404, "api_key_invalid")


async def test_times_of_use_are_written_at_an_interval_and_when_the_service_stops(replica: Replica):
    async with replica(last_used_flush_seconds=0.05) as client:
        first = await create_key(client)
        await verify(client, first["secret"])
        await asyncio.sleep(0.3)
        shown = (await client.get(f"/v1/api-keys/{first['id']}", headers=OPERATOR)).json()
        assert shown["lastUsedAt"] is not None
    async with replica() as client:
        second = await create_key(client)
        await verify(client, second["secret"])
    async with replica() as client:
        shown = (await client.get(f"/v1/api-keys/{second['id']}", headers=OPERATOR)).json()
    assert shown["lastUsedAt"] is not None


async def test_the_first_operator_key_is_made_once(database: Database):
    secret = await ensure_operator_key(database)
    assert secret is not None
    assert parse_token(secret.get_secret_value()) is not None
    assert await ensure_operator_key(database) is None


async def test_replicas_that_start_together_make_one_operator_key(live_url: str):
    databases = [open_database(settings(live_url)) for _ in range(3)]
    secrets = await asyncio.gather(*(ensure_operator_key(each, "test") for each in databases))
    for each in databases:
        await each.dispose()
    (made,) = [secret for secret in secrets if secret is not None]
    assert made.get_secret_value().startswith("uc_test_")


async def test_other_keys_of_the_operator_are_no_operator_keys(client: httpx.AsyncClient, database: Database):
    await create_key(client, scopes=["flags:evaluate"])
    assert await ensure_operator_key(database) is not None


async def test_an_operator_key_that_is_not_well_formed_is_never_registered(database: Database):
    with pytest.raises(ValueError, match="not well-formed"):
        async with database.session() as session:
            await operator_key_service(session).register("uc_live_typo")


async def test_registering_the_same_operator_key_again_changes_nothing(database: Database):
    secret = mint_token("live", new_uuid7()).text
    async with database.begin() as session:
        registered = [await operator_key_service(session).register(secret) for _ in range(2)]
    assert registered == [True, False]


async def test_uses_wait_for_a_database_that_is_away_but_a_stop_does_not():
    away, last_uses, key_id = open_database(settings(AWAY)), LastUses(), new_uuid7()
    last_uses.note(key_id, datetime.now(UTC))
    with pytest.raises(UnavailableError):
        await write_last_uses(away, last_uses)
    remembered = last_uses.take()
    last_uses.put_back(remembered)
    await write_last_words(away, last_uses)
    assert list(remembered) == [key_id]
    assert last_uses.take() == {}
    await away.dispose()


def test_a_malformed_operator_key_stops_the_start():
    with pytest.raises(SettingsError, match="IDENTITY_OPERATOR_KEY"):
        settings(AWAY, operator_key=SecretStr("uc_live_typo"))


def test_the_command_prints_a_well_formed_key_without_a_database(capsys: pytest.CaptureFixture[str]):
    main(["operator-key", "--print-only"])
    assert parse_token(capsys.readouterr().out.strip()) is not None


async def test_the_command_makes_an_operator_key(
    live_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], replica: Replica
):
    monkeypatch.setenv("IDENTITY_DATABASE_URL", live_url)
    monkeypatch.setenv("IDENTITY_SECRET_KEY", "0" * 32)
    await asyncio.to_thread(main, ["operator-key"])
    async with replica() as client:
        assert (await verify(client, capsys.readouterr().out.strip())).json()["kind"] == "operator"


def test_the_command_without_settings_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("IDENTITY_DATABASE_URL", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["operator-key"])
    assert ended.value.code == 1
    assert "IDENTITY_DATABASE_URL" in capsys.readouterr().err


def test_the_command_prints_the_openapi_document(capsysbinary: pytest.CaptureFixture[bytes]):
    main(["openapi"])
    assert b'"/v1/organizations"' in capsysbinary.readouterr().out


async def test_a_database_that_is_away_is_a_503(replica: Replica):
    async with replica(AWAY) as client:
        answer = await client.get("/v1/organizations", headers=OPERATOR)
        assert outcome(answer) == (503, "database_unavailable")
        assert outcome(await verify(client, mint_token("live", new_uuid7()).text)) == (
            503,
            "database_unavailable",
        )
