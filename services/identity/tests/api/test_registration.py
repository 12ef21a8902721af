"""Registering and confirming an address, and that neither tells who has an account."""

import statistics
import time

import httpx
import pytest
from fastapi import FastAPI
from services.identity.tests.conftest import client_of
from services.identity.tests.factories import outcome, settings
from services.identity.tests.people import (
    ADA,
    PASSWORD,
    add_user,
    confirmed,
    happenings,
    mails_of,
    register,
    sign_in,
    text_of,
    token_in,
)

from undercroft.identity.dependencies.accounts import close_accounts
from undercroft.identity.main import create_app, install
from undercroft.shared.db import Database


async def test_whoever_follows_the_link_has_the_account_that_was_promised(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    registered = await register(client)
    (mail,) = await mails_of(app)
    before = await sign_in(client)
    verified = await client.put(f"/v1/email-verifications/{token_in(mail)}")
    after = await sign_in(client)
    assert mail["To"] == ADA
    assert outcome(before) == (401, "invalid_credentials")
    assert (verified.status_code, verified.json()["id"]) == (200, registered.json()["id"])
    assert (after.status_code, after.json()["userId"]) == (201, registered.json()["id"])
    assert ("user.created", registered.json()["id"], registered.json()["id"]) in await happenings(database)


async def test_a_link_works_once(client: httpx.AsyncClient, app: FastAPI):
    await register(client)
    (mail,) = await mails_of(app)
    path = f"/v1/email-verifications/{token_in(mail)}"
    await client.put(path)
    assert outcome(await client.put(path)) == (404, "link_invalid")
    assert outcome(await client.put("/v1/email-verifications/nonsense")) == (404, "link_invalid")


async def test_an_organization_is_founded_when_the_address_is_confirmed(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    user_id = await confirmed(client, app, organization={"name": "Acme"})
    names = [name for name, _, _ in await happenings(database)]
    assert names == ["user.created", "organization.created", "member.added"]
    assert ("member.added", user_id, user_id) in await happenings(database)


async def test_registering_a_taken_address_is_answered_alike_and_told_to_its_owner(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    await add_user(database)
    taken, free = await register(client, ADA.upper()), await register(client, "eve@example.com")
    told = {mail["To"]: mail["Subject"] for mail in await mails_of(app)}
    bodies = [{**answer.json(), "id": "", "email": ""} for answer in (taken, free)]
    assert taken.status_code == free.status_code == 201
    assert bodies[0] == bodies[1]
    assert taken.json()["id"].startswith("usr_")
    assert told[ADA.upper()] == "You already have an account at Undercroft"
    assert told["eve@example.com"] == "Confirm your address for Undercroft"


async def test_neither_work_nor_time_tells_which_addresses_are_known(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    await confirmed(client, app)
    computed: dict[str, list[int]] = {"known": [], "unknown": []}
    taken: dict[str, list[float]] = {"known": [], "unknown": []}
    app.state.attempts = Unlimited()
    for number in range(24):
        kind = ("known", "unknown")[number % 2]
        email = ADA if kind == "known" else f"nobody{number}@example.com"
        before, began = app.state.password_hasher.computations, time.perf_counter()
        answer = await sign_in(client, email, password="a wrong password")
        taken[kind].append(time.perf_counter() - began)
        computed[kind].append(app.state.password_hasher.computations - before)
        assert outcome(answer) == (401, "invalid_credentials")
    assert set(computed["known"]) == set(computed["unknown"]) == {1}
    ratio = statistics.median(taken["known"]) / statistics.median(taken["unknown"])
    assert 0.2 < ratio < 5


class Unlimited:
    """Attempts that nobody counts."""

    async def begin(self, limit: object, subject: str) -> None: ...

    async def forgive(self, limit: object, subject: str) -> None: ...

    async def forget(self, limit: object, subject: str) -> None: ...


async def test_somebody_else_who_registered_with_the_address_first_gets_nothing(
    client: httpx.AsyncClient, app: FastAPI
):
    await register(client, password="the password of eve")
    await register(client)
    first, second = await mails_of(app)
    await client.put(f"/v1/email-verifications/{token_in(second)}")
    stale = await client.put(f"/v1/email-verifications/{token_in(first)}")
    assert outcome(stale) == (404, "link_invalid")
    assert (await sign_in(client)).status_code == 201


async def test_an_address_that_got_an_account_meanwhile_is_told_to_whoever_has_the_link(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    await register(client)
    (mail,) = await mails_of(app)
    await add_user(database)
    answer = await client.put(f"/v1/email-verifications/{token_in(mail)}")
    assert outcome(answer) == (409, "email_taken")


async def test_the_mail_is_sent_again_with_a_new_link_only_where_somebody_registered(
    client: httpx.AsyncClient, app: FastAPI
):
    await register(client)
    (first,) = await mails_of(app)
    answers = [
        await client.post("/v1/email-verifications", json={"email": email})
        for email in (ADA, "nobody@example.com")
    ]
    (second,) = await mails_of(app)
    assert [(answer.status_code, answer.content) for answer in answers] == [(202, b"")] * 2
    assert token_in(first) != token_in(second)
    assert outcome(await client.put(f"/v1/email-verifications/{token_in(first)}")) == (404, "link_invalid")
    assert (await client.put(f"/v1/email-verifications/{token_in(second)}")).status_code == 200


async def test_asking_again_for_a_known_address_says_so_in_the_mail(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    await add_user(database)
    await client.post("/v1/email-verifications", json={"email": ADA})
    (mail,) = await mails_of(app)
    assert "already have an account" in mail["Subject"]
    assert "Hello Ada Lovelace," in text_of(mail)


@pytest.mark.parametrize(
    ("members", "pointer", "code"),
    [
        ({"password": "short"}, "#/password", "password_too_short"),
        ({"password": "é" * 600}, "#/password", "password_too_long"),
        ({"password": "Password1234"}, "#/password", "password_too_common"),
        ({"password": "aaaaaaaaaaaaaa"}, "#/password", "password_too_common"),
        ({"password": "my-lovelace-secret"}, "#/password", "password_contains_personal_data"),
        ({"email": "no address"}, "#/email", "email"),
        ({"email": "a@b"}, "#/email", "email"),
        ({"email": "a\r\nBcc: x@example.com"}, "#/email", "email"),
        ({"name": "Ada\nEve"}, "#/name", "string_pattern_mismatch"),
        ({"name": ""}, "#/name", "string_too_short"),
        ({"unknown": 1}, "#/unknown", "extra_forbidden"),
    ],
)
async def test_a_wrong_registration_says_what_is_wrong(
    client: httpx.AsyncClient, members: dict[str, object], pointer: str, code: str
):
    answer = await register(client, **{"email": ADA, **members})
    (problem,) = answer.json()["errors"]
    assert outcome(answer) == (422, "validation_failed")
    assert (problem["pointer"], problem["code"]) == (pointer, code)
    assert PASSWORD not in answer.text


async def test_where_registering_is_closed_nobody_registers(database: Database):
    app = create_app(settings("postgresql+asyncpg://nobody@localhost/nowhere", sign_up="closed"))
    install(app, database)
    async with client_of(app) as client:
        assert outcome(await register(client)) == (403, "sign_up_closed")
    await close_accounts(app)


@pytest.mark.usefixtures("long_waits")
async def test_registering_too_often_from_one_address_must_wait(client: httpx.AsyncClient, app: FastAPI):
    limit = app.state.settings.free_attempts_per_address
    answers = [await client.post("/v1/email-verifications", json={"email": ADA}) for _ in range(limit + 2)]
    assert outcome(answers[-1]) == (429, "too_many_attempts")
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert {answer.status_code for answer in answers[:limit]} == {202}
