"""Reads past the ORM's pool, on a real database."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import httpx
import pytest
from services.identity.tests.factories import GATEWAY, outcome, settings, verify
from services.identity.tests.rows import add_grant, add_organization, add_user
from sqlalchemy import bindparam, select

from undercroft.identity.main import open_database
from undercroft.identity.models.users import User
from undercroft.identity.repository.access import AccessRepository
from undercroft.identity.repository.profiles import ProfileRepository
from undercroft.identity.repository.reads import PreparedReads, SessionReads
from undercroft.shared.errors import UnavailableError
from undercroft.shared.ids import new_uuid7

NAME = select(User.name).where(User.id == bindparam("id"))
AWAY = "postgresql+asyncpg://nobody@127.0.0.1:1/nowhere"


async def name_of(reads: PreparedReads, user: UUID) -> object:
    row = await reads.find(NAME, {"id": user})
    return None if row is None else row[0]


async def test_both_ways_of_reading_find_the_same(live_url: str):
    database, reads = open_database(settings(live_url)), PreparedReads(live_url, size=2)
    user: UUID = await add_user(database)
    organization = await add_organization(database, user, "viewer")
    grant = await add_grant(database, user)
    for way in (reads, SessionReads(database)):
        rows = AccessRepository(way)
        anywhere = await rows.find_grant(grant, jti="x")
        there = await rows.find_grant(grant, jti="x", organization_id=organization)
        assert anywhere == there
        assert anywhere is not None
        assert (anywhere.organization_id, anywhere.role) == (organization, "viewer")
        assert await rows.find_key(new_uuid7(), jti="x") is None
        assert await rows.find_client(new_uuid7(), jti="x") is None
    await reads.close()
    await database.dispose()


async def test_connections_are_few_and_mended(live_url: str):
    database, reads = open_database(settings(live_url)), PreparedReads(live_url, size=2)
    user = await add_user(database)
    rows = await asyncio.gather(*(name_of(reads, user) for _ in range(10)))
    assert set(rows) == {"Ada Lovelace"}
    assert 1 <= len(reads._idle) <= 2
    for connection in reads._idle:
        connection.terminate()
    assert await name_of(reads, user) == "Ada Lovelace"
    with pytest.raises(asyncpg.DataError):
        await reads.find(NAME, {"id": object()})
    assert await name_of(reads, user) == "Ada Lovelace"
    await reads.close()
    await database.dispose()


async def test_who_asks_together_gets_their_own_rows(live_url: str):
    database, reads = open_database(settings(live_url)), PreparedReads(live_url, size=2)
    users = [await add_user(database) for _ in range(150)]
    organization = await add_organization(database, users[0], "viewer")
    grant = await add_grant(database, users[0])
    rows, alone = AccessRepository(reads), AccessRepository(SessionReads(database))
    unknown = [new_uuid7() for _ in range(3)]
    asked = [*(rows.find_grant(each, jti="x", organization_id=organization) for each in (grant, *unknown))]
    profiles = [*(ProfileRepository(reads).find(user) for user in (*users, *unknown))]
    standings, told = await asyncio.gather(asyncio.gather(*asked), asyncio.gather(*profiles))
    assert standings == [
        await alone.find_grant(grant, jti="x", organization_id=organization),
        None,
        None,
        None,
    ]
    assert [profile and profile.id for profile in told] == [*users, None, None, None]
    await reads.close()
    await database.dispose()


async def test_a_wrong_question_among_others_is_answered_to_whoever_asked_it(live_url: str):
    database, reads = open_database(settings(live_url)), PreparedReads(live_url, size=2)
    user = await add_user(database)
    right, wrong, also, gone = await asyncio.gather(
        name_of(reads, user),
        reads.find(NAME, {"id": object()}),
        name_of(reads, user),
        asyncio.wait_for(name_of(reads, user), 0),
        return_exceptions=True,
    )
    assert (right, also) == ("Ada Lovelace", "Ada Lovelace")
    assert isinstance(wrong, asyncpg.DataError)
    assert isinstance(gone, TimeoutError)
    await reads.close()
    await database.dispose()


async def test_everybody_is_told_that_the_database_is_away():
    reads = PreparedReads(AWAY, size=1)
    told = await asyncio.gather(
        *(reads.find(NAME, {"id": new_uuid7()}) for _ in range(5)), return_exceptions=True
    )
    assert {type(each) for each in told} == {UnavailableError}


async def test_a_database_that_is_away_is_unavailable():
    with pytest.raises(UnavailableError):
        await PreparedReads(AWAY, size=1).find(NAME, {"id": new_uuid7()})


async def test_a_question_in_pieces_goes_the_long_way(client: httpx.AsyncClient):
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"secret":'
        yield b'"nonsense"}'

    headers = {**GATEWAY, "Content-Type": "application/json"}
    answer = await client.post("/internal/api-keys/verify", content=pieces(), headers=headers)
    assert outcome(answer) == outcome(await verify(client, "nonsense")) == (404, "api_key_invalid")
