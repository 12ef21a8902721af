"""Passkeys: registered by somebody signed in, then enough by themselves to sign in."""

from collections.abc import Mapping
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from services.identity.tests.authenticator import Authenticator
from services.identity.tests.factories import outcome
from services.identity.tests.people import (
    add_session,
    add_user,
    bearer,
    change_user,
    happenings,
    mails_of,
    text_of,
)

from undercroft.shared.db import Database

ORIGIN = "http://127.0.0.1:8080"
PATH = "/v1/me/passkeys"


@pytest.fixture
async def owner(database: Database) -> tuple[str, Mapping[str, str]]:
    user_id = await add_user(database)
    _, grant_id = await add_session(database, user_id)
    return user_id, bearer(user_id, grant_id=grant_id)


async def add_passkey(
    client: httpx.AsyncClient, headers: Mapping[str, str], authenticator: Authenticator
) -> httpx.Response:
    options = (await client.post(f"{PATH}/options", headers=headers)).json()
    body = {
        "name": "Laptop",
        "state": options["state"],
        "credential": authenticator.create(options["publicKey"]),
    }
    return await client.post(PATH, json=body, headers=headers)


async def sign_in(client: httpx.AsyncClient, authenticator: Authenticator) -> httpx.Response:
    options = (await client.post("/v1/sessions/passkey-options")).json()
    passkey = {"state": options["state"], "credential": authenticator.get(options["publicKey"])}
    answer = await client.post("/v1/sessions", json={"passkey": passkey})
    client.cookies.clear()
    return answer


async def test_a_passkey_is_registered_used_renamed_and_removed(
    client: httpx.AsyncClient, app: FastAPI, owner: tuple[str, Mapping[str, str]], database: Database
):
    user_id, headers = owner
    authenticator = Authenticator(ORIGIN)
    added = await add_passkey(client, headers, authenticator)
    signed_in = await sign_in(client, authenticator)
    path = added.headers["Location"]
    renamed = await client.patch(path, json={"name": "Phone"}, headers=headers)
    listed = (await client.get(PATH, headers=headers)).json()["items"]
    removed = await client.delete(path, headers=headers)
    assert (added.status_code, added.json()["transports"]) == (201, ["internal"])
    assert (signed_in.status_code, signed_in.json()["userId"]) == (201, user_id)
    assert signed_in.json()["methods"] == ["pop", "user", "mfa"]
    assert renamed.json()["name"] == "Phone"
    assert listed[0]["lastUsedAt"] is not None
    assert removed.status_code == 204
    assert outcome(await sign_in(client, authenticator)) == (401, "invalid_credentials")
    assert ("user.updated", user_id, user_id) in await happenings(database)
    assert any("A passkey was added" in text_of(mail) for mail in await mails_of(app))


async def test_a_passkey_of_another_origin_or_without_verification_is_refused(
    client: httpx.AsyncClient, owner: tuple[str, Mapping[str, str]]
):
    _, headers = owner
    unverified = Authenticator(ORIGIN)
    unverified.flags = 0x01
    answers = [
        await add_passkey(client, headers, Authenticator("https://evil.example")),
        await add_passkey(client, headers, unverified),
    ]
    assert [outcome(answer) for answer in answers] == [(422, "passkey_refused")] * 2


async def test_wrong_answers_sign_nobody_in(client: httpx.AsyncClient, owner: tuple[str, Mapping[str, str]]):
    authenticator = Authenticator(ORIGIN)
    await add_passkey(client, owner[1], authenticator)
    authenticator.origin = "https://evil.example"
    foreign = await sign_in(client, authenticator)
    authenticator.origin = ORIGIN
    await sign_in(client, authenticator)
    authenticator.sign_count = 0
    cloned = await sign_in(client, authenticator)
    unknown = await sign_in(client, Authenticator(ORIGIN, b"another"))
    assert [outcome(each) for each in (foreign, cloned, unknown)] == [(401, "invalid_credentials")] * 3


@pytest.mark.parametrize("credential", [{}, {"rawId": "é"}, {"rawId": 7, "response": []}])
async def test_a_malformed_answer_signs_nobody_in(client: httpx.AsyncClient, credential: dict[str, object]):
    options = (await client.post("/v1/sessions/passkey-options")).json()
    passkey = {"state": options["state"], "credential": credential}
    assert outcome(await client.post("/v1/sessions", json={"passkey": passkey})) == (
        401,
        "invalid_credentials",
    )


async def test_a_state_is_good_once_for_its_purpose_and_its_person(
    client: httpx.AsyncClient, app: FastAPI, owner: tuple[str, Mapping[str, str]], database: Database
):
    _, headers = owner
    authenticator = Authenticator(ORIGIN)
    options = (await client.post("/v1/sessions/passkey-options")).json()
    passkey = {"state": options["state"], "credential": authenticator.get(options["publicKey"])}
    answers = [await client.post("/v1/sessions", json={"passkey": passkey}) for _ in range(2)]
    made = (await client.post(f"{PATH}/options", headers=headers)).json()
    credential = authenticator.create(made["publicKey"])
    body = {"name": "A", "state": made["state"], "credential": credential}
    other = bearer(await add_user(database, "eve@example.com"))
    crossed = await client.post("/v1/sessions", json={"passkey": {**passkey, "state": made["state"]}})
    stolen = await client.post(PATH, json=body, headers=other)
    nonsense = await client.post(PATH, json={**body, "state": "!"}, headers=headers)
    late = (await client.post(f"{PATH}/options", headers=headers)).json()
    clock = app.state.clock
    app.state.clock = lambda: clock() + timedelta(minutes=6)
    too_late = await client.post(PATH, json={**body, "state": late["state"]}, headers=headers)
    refused = (422, "passkey_refused")
    assert outcome(answers[1]) == refused
    assert [outcome(each) for each in (crossed, stolen, nonsense, too_late)] == [refused] * 4


async def test_a_disabled_user_signs_in_with_no_passkey(
    client: httpx.AsyncClient, owner: tuple[str, Mapping[str, str]]
):
    user_id, headers = owner
    authenticator = Authenticator(ORIGIN)
    await add_passkey(client, headers, authenticator)
    await change_user(client, user_id, isDisabled=True)
    assert outcome(await sign_in(client, authenticator)) == (403, "user_disabled")


async def test_the_same_passkey_twice_and_too_many_are_conflicts(
    client: httpx.AsyncClient, app: FastAPI, owner: tuple[str, Mapping[str, str]]
):
    _, headers = owner
    authenticator = Authenticator(ORIGIN)
    await add_passkey(client, headers, authenticator)
    again = await add_passkey(client, headers, authenticator)
    waiting = (await client.post(f"{PATH}/options", headers=headers)).json()
    app.state.settings = app.state.settings.model_copy(update={"max_passkeys": 1})
    late = {
        "name": "B",
        "state": waiting["state"],
        "credential": Authenticator(ORIGIN, b"b").create(waiting["publicKey"]),
    }
    assert outcome(again) == (409, "passkey_already_registered")
    full = (409, "passkey_limit_reached")
    assert outcome(await client.post(f"{PATH}/options", headers=headers)) == full
    assert outcome(await client.post(PATH, json=late, headers=headers)) == full


async def test_somebody_elses_passkey_is_not_found(
    client: httpx.AsyncClient, owner: tuple[str, Mapping[str, str]], database: Database
):
    path = (await add_passkey(client, owner[1], Authenticator(ORIGIN))).headers["Location"]
    other = bearer(await add_user(database, "eve@example.com"))
    answers = [
        await client.patch(path, json={"name": "Mine"}, headers=other),
        await client.delete(path, headers=other),
    ]
    assert [outcome(answer) for answer in answers] == [(404, "passkey_not_found")] * 2


async def test_options_need_a_recent_sign_in(
    client: httpx.AsyncClient, owner: tuple[str, Mapping[str, str]], database: Database
):
    _, grant_id = await add_session(database, owner[0], age=timedelta(hours=1))
    answer = await client.post(f"{PATH}/options", headers=bearer(owner[0], grant_id=grant_id))
    assert outcome(answer) == (403, "recent_sign_in_required")
