"""Signing in, the second factor, waiting after wrong guesses, and signing out."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import httpx
import pyotp
import pytest
from fastapi import FastAPI
from services.identity.tests.conftest import client_of
from services.identity.tests.factories import OPERATOR, caller, outcome, settings
from services.identity.tests.people import (
    ADA,
    PASSWORD,
    add_session,
    add_user,
    bearer,
    change_user,
    confirmed,
    happenings,
    sign_in,
    signed_in,
    uuid_of,
)
from sqlalchemy import select, update

from undercroft.identity.dependencies.accounts import close_accounts
from undercroft.identity.main import create_app, install, open_database
from undercroft.identity.models.sessions import Grant, Session
from undercroft.identity.models.users import User
from undercroft.identity.service.password_hashing import HashingPolicy, PasswordHasher, Verdict
from undercroft.identity.worker.accounts import prune_accounts
from undercroft.shared.db import Database

WRONG = "a wrong password"


async def test_signing_in_gives_a_session_tokens_and_a_cookie(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    user_id = await confirmed(client, app)
    answer = await sign_in(client)
    created = answer.json()
    cookies = answer.headers.get_list("set-cookie")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert (created["userId"], created["methods"], created["tokenType"]) == (user_id, ["pwd"], "Bearer")
    assert created["accessToken"].count(".") == 2
    assert created["refreshToken"]
    assert created["expiresIn"] == 600
    assert any(each.startswith("undercroft_session=") and "HttpOnly" in each for each in cookies)
    assert ("session.created", created["id"], user_id) in await happenings(database)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": ADA},
        {"email": ADA, "password": PASSWORD, "more": 1},
        {"email": ADA, "password": PASSWORD, "passkey": {"state": "x", "credential": {}}},
        {"email": ADA, "password": "a" * 5_000},
    ],
)
async def test_a_wrong_body_is_refused_without_repeating_it(
    client: httpx.AsyncClient, body: dict[str, object]
):
    answer = await client.post("/v1/sessions", json=body)
    assert outcome(answer) == (422, "validation_failed")
    assert "aaaa" not in answer.text
    assert PASSWORD not in answer.text


async def test_an_idempotency_key_means_nothing_where_nobody_is_known_yet(client: httpx.AsyncClient):
    answer = await client.post(
        "/v1/sessions", json={"email": ADA, "password": WRONG}, headers={"Idempotency-Key": "a"}
    )
    assert outcome(answer) == (401, "invalid_credentials")


async def test_an_account_without_a_password_takes_none(client: httpx.AsyncClient, database: Database):
    await add_user(database)
    assert outcome(await sign_in(client)) == (401, "invalid_credentials")


async def test_a_hash_of_other_parameters_is_replaced_when_it_was_right(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    user_id = uuid_of(await confirmed(client, app))
    from pwdlib.hashers.argon2 import Argon2Hasher

    old = Argon2Hasher(time_cost=2, memory_cost=32, parallelism=1).hash(PASSWORD)
    async with database.begin() as session:
        await session.execute(update(User).where(User.id == user_id).values(password_hash=old))
    await sign_in(client, password=WRONG)
    assert await password_hash(database) == old
    assert (await sign_in(client)).status_code == 201
    assert "m=64,t=1,p=1" in await password_hash(database)


async def password_hash(database: Database) -> str:
    async with database.session() as session:
        (found,) = await session.scalars(select(User.password_hash))
    assert found is not None
    return found


@pytest.mark.usefixtures("long_waits")
async def test_wrong_guesses_must_wait_and_the_right_one_is_forgotten_after_the_window(
    client: httpx.AsyncClient, app: FastAPI
):
    await confirmed(client, app)
    guesses = [outcome(await sign_in(client, password=WRONG)) for _ in range(7)]
    waiting = await sign_in(client)
    assert guesses[:5] == [(401, "invalid_credentials")] * 5
    assert guesses[-1] == (429, "too_many_attempts")
    assert outcome(waiting) == (429, "too_many_attempts")
    assert int(waiting.headers["Retry-After"]) >= 1


@pytest.mark.usefixtures("long_waits")
async def test_an_unknown_address_waits_like_a_known_one(client: httpx.AsyncClient):
    guesses = [outcome(await sign_in(client, "nobody@example.com")) for _ in range(7)]
    assert guesses[-1] == (429, "too_many_attempts")


@pytest.mark.usefixtures("long_waits")
async def test_a_known_browser_signs_in_while_others_must_wait(client: httpx.AsyncClient, app: FastAPI):
    await confirmed(client, app)
    first = await sign_in(client)
    cookie = next(each for each in first.headers.get_list("set-cookie") if "undercroft_device" in each)
    for _ in range(8):
        await sign_in(client, password=WRONG)
    known = await client.post(
        "/v1/sessions",
        json={"email": ADA, "password": PASSWORD},
        headers={"Cookie": cookie.partition(";")[0]},
    )
    client.cookies.clear()
    forged = await client.post(
        "/v1/sessions",
        json={"email": ADA, "password": PASSWORD},
        headers={"Cookie": "undercroft_device=AAAA"},
    )
    assert known.status_code == 201
    assert outcome(forged) == (429, "too_many_attempts")


async def test_a_disabled_user_is_told_so_only_with_the_right_password(
    client: httpx.AsyncClient, app: FastAPI
):
    user_id = await confirmed(client, app)
    await change_user(client, user_id, isDisabled=True)
    assert outcome(await sign_in(client, password=WRONG)) == (401, "invalid_credentials")
    assert outcome(await sign_in(client)) == (403, "user_disabled")


async def enable_totp(client: httpx.AsyncClient, headers: Mapping[str, str]) -> tuple[pyotp.TOTP, list[str]]:
    begun = await client.post("/v1/me/totp", headers=headers)
    assert begun.status_code == 201, begun.text
    totp = pyotp.TOTP(begun.json()["secret"])
    earlier = totp.at(datetime.now(UTC) - timedelta(seconds=30))
    confirmed_codes = await client.put("/v1/me/totp", json={"code": earlier}, headers=headers)
    assert confirmed_codes.status_code == 200, confirmed_codes.text
    return totp, confirmed_codes.json()["recoveryCodes"]


async def test_a_second_factor_is_asked_for_and_each_code_is_good_once(
    client: httpx.AsyncClient, app: FastAPI
):
    _, headers = await signed_in(client, app)
    totp, recovery_codes = await enable_totp(client, headers)
    missing = await sign_in(client)
    code = totp.now()
    first, again = await sign_in(client, totp=code), await sign_in(client, totp=code)
    recovered = await sign_in(client, recoveryCode=recovery_codes[0].upper())
    twice = await sign_in(client, recoveryCode=recovery_codes[0])
    assert outcome(missing) == (401, "second_factor_required")
    assert first.json()["methods"] == ["pwd", "otp", "mfa"]
    assert outcome(again) == (401, "invalid_credentials")
    assert recovered.status_code == 201
    assert outcome(twice) == (401, "invalid_credentials")
    assert (await client.get("/v1/me", headers=headers)).json()["recoveryCodesLeft"] == 9


@pytest.mark.usefixtures("long_waits")
async def test_guessing_codes_must_wait_too(client: httpx.AsyncClient, app: FastAPI):
    _, headers = await signed_in(client, app)
    await enable_totp(client, headers)
    guesses = [outcome(await sign_in(client, totp="000000")) for _ in range(7)]
    assert guesses[0] == (401, "invalid_credentials")
    assert guesses[-1] == (429, "too_many_attempts")


async def test_totp_errors(client: httpx.AsyncClient, app: FastAPI):
    user_id, headers = await signed_in(client, app)

    async def put(code: str) -> tuple[int, str]:
        return outcome(await client.put("/v1/me/totp", json={"code": code}, headers=headers))

    async def disable(**proof: str) -> httpx.Response:
        return await client.post("/v1/me/totp/disable", json=proof, headers=headers)

    assert await put("123456") == (409, "totp_not_started")
    assert outcome(await disable(password=PASSWORD)) == (409, "totp_not_enabled")
    await client.post("/v1/me/totp", headers=headers)
    assert await put("000000") == (422, "code_wrong")
    assert await put("letters") == (422, "code_wrong")
    _, recovery_codes = await enable_totp(client, headers)
    assert outcome(await client.post("/v1/me/totp", headers=headers)) == (409, "totp_already_enabled")
    assert await put("123456") == (409, "totp_already_enabled")
    assert outcome(await disable()) == (422, "validation_failed")
    assert outcome(await disable(password=WRONG)) == (403, "password_wrong")
    assert outcome(await disable(totp="000000")) == (422, "code_wrong")
    renewed = await client.post(
        "/v1/me/totp/recovery-codes", json={"recoveryCode": recovery_codes[0]}, headers=headers
    )
    assert set(renewed.json()["recoveryCodes"]).isdisjoint(recovery_codes)
    assert (await disable(password=PASSWORD)).status_code == 204
    assert (await client.get("/v1/me", headers=headers)).json()["hasTotp"] is False
    stale = bearer(
        user_id, grant_id=(await add_session(app.state.database, user_id, age=timedelta(hours=1)))[1]
    )
    assert outcome(await client.post("/v1/me/totp", headers=stale)) == (403, "recent_sign_in_required")
    assert outcome(await client.post("/v1/me/totp", headers=bearer(user_id))) == (
        403,
        "recent_sign_in_required",
    )


async def test_devices_are_listed_and_signed_out_one_by_one(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    user_id = await confirmed(client, app)
    here, grant_id = await add_session(database, user_id)
    there, other_grant = await add_session(database, user_id)
    await add_session(database, user_id, expires_in=-timedelta(seconds=1))
    headers = bearer(user_id, grant_id=grant_id)
    listed = (await client.get("/v1/sessions", headers=headers)).json()["items"]
    ended = await client.delete(f"/v1/sessions/{there}", headers=headers)
    assert [(each["id"], each["isCurrent"]) for each in listed] == [(here, True), (there, False)]
    assert (ended.status_code, "set-cookie" in ended.headers) == (204, False)
    assert outcome(await client.delete(f"/v1/sessions/{there}", headers=headers)) == (
        404,
        "session_not_found",
    )
    told = await happenings(database)
    assert ("session.ended", there, user_id) in told
    assert ("grant.revoked", other_grant, user_id) in told
    own = await client.delete(f"/v1/sessions/{here}", headers=headers)
    assert 'undercroft_session=""' in own.headers["set-cookie"]


async def test_somebody_elses_session_is_not_found(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    user_id = await confirmed(client, app)
    theirs, _ = await add_session(database, user_id)
    other = await add_user(database, "eve@example.com")
    answer = await client.delete(f"/v1/sessions/{theirs}", headers=bearer(other))
    assert outcome(answer) == (404, "session_not_found")


async def test_signing_out_everywhere_ends_every_session(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    user_id = await confirmed(client, app)
    for _ in range(2):
        await add_session(database, user_id)
    assert (await client.delete("/v1/sessions", headers=bearer(user_id))).status_code == 204
    async with database.session() as session:
        assert (await session.scalars(select(Session.id))).all() == []
        assert (await session.scalars(select(Grant.id))).all() == []


async def test_sessions_that_are_over_are_ended_and_told(app: FastAPI, database: Database):
    user_id = await add_user(database)
    over, grant_id = await add_session(database, user_id, expires_in=-timedelta(seconds=1))
    await add_session(database, user_id)
    async with database.begin() as session:
        pruned = [await prune_accounts(app, session) for _ in range(2)]
    assert pruned == [1, 0]
    assert await happenings(database) == [
        ("session.ended", over, "identity"),
        ("grant.revoked", grant_id, "identity"),
    ]


async def test_only_a_person_has_sessions(client: httpx.AsyncClient):
    assert outcome(await client.get("/v1/sessions", headers=OPERATOR)) == (403, "not_a_person")
    assert outcome(await client.get("/v1/sessions", headers=caller("identity:read"))) == (
        403,
        "insufficient_scope",
    )
    assert outcome(await client.get("/v1/sessions", headers=bearer("nobody"))) == (403, "not_a_person")


async def test_fifty_hashes_at_once_take_turns_while_the_loop_goes_on(app: FastAPI):
    hasher = PasswordHasher(HashingPolicy(16_384, 1, 1, concurrency=2, queue=50, wait_seconds=60))
    running = most = turns = 0
    compute = hasher._compute_verdict

    def counted(password: str, stored: str | None) -> Verdict:
        nonlocal running, most
        running += 1
        most = max(most, running)
        verdict = compute(password, stored)
        running -= 1
        return verdict

    hasher._compute_verdict = counted  # type: ignore[method-assign]
    storm = asyncio.gather(*(hasher.verify(WRONG, None) for _ in range(50)))
    while not storm.done():
        await asyncio.sleep(0.001)
        turns += 1
    hasher.close()
    assert [verdict.is_right for verdict in await storm] == [False] * 50
    assert most == 2
    assert turns > 50


async def test_fifty_people_sign_in_at_once(live_url: str):
    app = create_app(settings(live_url))
    install(app, open_database(app.state.settings))
    hashed = await app.state.password_hasher.hash(PASSWORD)
    async with client_of(app) as client:
        emails = [f"ada{number}@example.com" for number in range(50)]
        for email in emails:
            await add_user(app.state.database, email, password_hash=hashed)
        answers = await asyncio.gather(*(sign_in(client, email) for email in emails))
    await close_accounts(app)
    await app.state.database.dispose()
    assert {answer.status_code for answer in answers} == {201}
