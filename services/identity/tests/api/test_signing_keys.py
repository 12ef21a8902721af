"""Signing keys: made once, rotated without a verifier ever meeting an unknown one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from joserfc import jwk
from services.identity.tests.factories import settings
from sqlalchemy import select, update

from undercroft.identity.dependencies.signing import rotation_policy
from undercroft.identity.domain.sealing import SealBrokenError, Sealer
from undercroft.identity.domain.signing_keys import RotationPolicy
from undercroft.identity.main import main, open_database, signing_keys
from undercroft.identity.models.base import outbox
from undercroft.identity.models.oauth import SigningKey
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.signing_keys import SigningKeyRepository
from undercroft.identity.service.signing import KeyRing, SigningKeyRepositories, generate_key
from undercroft.shared.db import Database

SEALER = Sealer(b"k" * 32)
START = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = rotation_policy(settings("postgresql+asyncpg://nobody@localhost/nowhere"))


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


def ring_on(
    database: Database, clock: Clock, *, sealer: Sealer = SEALER, policy: RotationPolicy = POLICY
) -> KeyRing:
    @asynccontextmanager
    async def open_repositories() -> AsyncIterator[SigningKeyRepositories]:
        async with database.begin() as session:
            yield SigningKeyRepositories(SigningKeyRepository(session), EventRepository(session))

    return KeyRing(open_repositories, sealer, policy, clock=clock, make_key=generate_key)


class Verifier:
    """Reads the key set at most every five minutes, and trusts nothing else."""

    def __init__(self, ring: KeyRing, clock: Clock) -> None:
        self._ring = ring
        self._clock = clock
        self._read_at: datetime | None = None
        self._keys: dict[str, jwt.PyJWK] = {}

    async def verify(self, token: str) -> dict[str, object]:
        if self._read_at is None or self._clock() >= self._read_at + 5 * MINUTE:
            self._read_at = self._clock()
            self._keys = {
                str(each["kid"]): jwt.PyJWK(dict(each)) for each in await self._ring.published_jwks()
            }
        key = self._keys[jwt.get_unverified_header(token)["kid"]]
        return jwt.decode(token, key, algorithms=["ES256", "RS256"], options={"verify_exp": False})


async def test_the_first_keys_sign_at_once_and_are_published_without_private_halves(database: Database):
    ring = ring_on(database, Clock())
    token = (await ring.signing_key("ES256")).sign({"sub": "usr_1"}, typ="at+jwt")
    published = await ring.published_jwks()
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert await Verifier(ring, Clock()).verify(token) == {"sub": "usr_1"}
    assert {each["alg"] for each in published} == {"ES256", "RS256"}
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & {name for each in published for name in each}
    assert all(each["use"] == "sig" for each in published)


async def test_a_kid_is_the_thumbprint_of_its_key(database: Database):
    for published in await ring_on(database, Clock()).published_jwks():
        required = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}[str(published["kty"])]
        assert published["kid"] == jwk.thumbprint({name: published[name] for name in required})


def test_the_thumbprint_is_that_of_rfc_8037():
    key = {"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert jwk.thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


async def test_private_keys_are_sealed_at_rest(database: Database):
    ring = ring_on(database, Clock())
    await ring.refresh()
    private = [str(key.key.as_dict(private=True)["d"]) for key in ring.held()]
    async with database.session() as session:
        rows = (await session.execute(select(SigningKey.__table__))).all()
    assert not [each for each in private if each in str(rows)]
    with pytest.raises(SealBrokenError):
        await ring_on(database, Clock(), sealer=Sealer(b"o" * 32)).refresh()


async def test_another_replica_signs_with_the_same_keys(database: Database):
    first, second = ring_on(database, Clock()), ring_on(database, Clock())
    assert (await first.signing_key("RS256")).kid == (await second.signing_key("RS256")).kid
    assert await second.find((await first.signing_key("ES256")).kid) is not None
    assert await ring_on(database, Clock()).find("unknown") is None


async def test_replicas_that_start_together_make_one_key_of_each_kind(live_url: str):
    databases = [open_database(settings(live_url)) for _ in range(3)]
    rings = [ring_on(each, Clock(datetime.now(UTC))) for each in databases]
    await asyncio.gather(*(ring.refresh() for ring in rings))
    held = [[key.kid for key in ring.held()] for ring in rings]
    for each in databases:
        await each.dispose()
    assert held[0] == held[1] == held[2]
    assert len(held[0]) == 2


async def test_a_rotation_by_command_lets_verifiers_learn_the_key_before_it_signs(database: Database):
    clock = Clock()
    ring = ring_on(database, clock)
    before = (await ring.signing_key("ES256")).kid
    await ring.rotate(actor="operator")
    assert (await ring.signing_key("ES256")).kid == before
    assert len(await ring.published_jwks()) == 4
    clock.now += POLICY.overlap
    after = (await ring.signing_key("ES256")).kid
    assert after != before
    assert before in {each["kid"] for each in await ring.published_jwks()}
    clock.now += POLICY.retention
    await ring.refresh()
    assert before not in {each["kid"] for each in await ring.published_jwks()}


async def test_a_rotation_is_told_with_its_actor(database: Database):
    ring = ring_on(database, Clock())
    await ring.rotate(actor="operator")
    async with database.session() as session:
        told = (await session.execute(select(outbox))).all()
    assert {event.type for event in told} == {"dev.undercroft.signing_key.rotated"}
    assert {event.subject for event in told} == {key.kid for key in ring.held()}
    assert {event.actor for event in told} == {"operator"}


async def test_no_verifier_meets_an_unknown_key_while_keys_rotate_by_schedule_and_command(database: Database):
    clock = Clock()
    policy = RotationPolicy(period=timedelta(hours=1), overlap=10 * MINUTE, retention=20 * MINUTE)
    signer, other = ring_on(database, clock, policy=policy), ring_on(database, clock, policy=policy)
    verifiers = [Verifier(signer, clock), Verifier(other, clock)]
    kids = set()
    for step in range(6 * 60 * 2):
        clock.now = START + step * MINUTE / 2
        if step in {50, 51, 333}:
            await signer.rotate(actor="operator")
        for ring in (signer, other):
            if step % 2:
                await ring.refresh()
            token = (await ring.signing_key("ES256")).sign({"n": step}, typ="at+jwt")
            kids.add(jwt.get_unverified_header(token)["kid"])
            for verifier in verifiers:
                assert await verifier.verify(token) == {"n": step}
    assert len(kids) >= 6


@pytest.mark.parametrize("offset_seconds", [0, 1, 299])
async def test_a_verifier_that_read_just_before_a_rotation_is_never_surprised(
    database: Database, offset_seconds: int
):
    clock = Clock()
    ring = ring_on(database, clock)
    verifier = Verifier(ring, clock)
    await verifier.verify((await ring.signing_key("ES256")).sign({}, typ="at+jwt"))
    clock.now += timedelta(seconds=offset_seconds)
    await ring.rotate(actor="operator")
    for second in range(0, 3_000, 7):
        clock.now = START + timedelta(seconds=offset_seconds + second)
        token = (await ring.signing_key("ES256")).sign({"n": second}, typ="at+jwt")
        assert await verifier.verify(token) == {"n": second}


async def test_after_a_long_absence_the_last_key_signs_until_its_successor_is_known(database: Database):
    clock = Clock()
    ring = ring_on(database, clock)
    before = (await ring.signing_key("ES256")).kid
    clock.now += POLICY.period + MINUTE
    assert (await ring.signing_key("ES256")).kid == before
    clock.now += POLICY.overlap
    assert (await ring.signing_key("ES256")).kid != before


async def test_when_nobody_knows_a_key_any_more_a_new_one_signs_at_once(database: Database):
    clock = Clock()
    ring = ring_on(database, clock)
    before = (await ring.signing_key("ES256")).kid
    clock.now += POLICY.period + POLICY.retention + MINUTE
    assert (await ring.signing_key("ES256")).kid != before


async def test_expired_keys_are_pruned(database: Database):
    ring = ring_on(database, Clock())
    await ring.refresh()
    async with database.begin() as session:
        await session.execute(update(SigningKey).values(published_until=START))
        assert await SigningKeyRepository(session).prune(START) == 2


async def test_the_commands_list_and_rotate(
    live_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    listed = await signing_keys(settings(live_url), rotate=False)
    monkeypatch.setenv("IDENTITY_DATABASE_URL", live_url)
    monkeypatch.setenv("IDENTITY_SECRET_KEY", settings(live_url).secret_key.get_secret_value())
    await asyncio.to_thread(main, ["keys", "rotate"])
    rotated = capsys.readouterr().out.splitlines()
    assert len(listed) == 2
    assert len(rotated) == 4
    assert {line.split()[0] for line in listed} < {line.split()[0] for line in rotated}


def test_the_keys_command_without_settings_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("IDENTITY_DATABASE_URL", raising=False)
    with pytest.raises(SystemExit):
        main(["keys", "list"])
    assert "IDENTITY_DATABASE_URL" in capsys.readouterr().err


async def test_a_running_replica_follows_a_rotation_at_once(live_url: str):
    from asgi_lifespan import LifespanManager

    from undercroft.identity.main import create_app

    app = create_app(settings(live_url))
    async with LifespanManager(app):
        await app.state.key_ring.refresh()
        await asyncio.sleep(0.2)
        await signing_keys(settings(live_url), rotate=True)
        async with asyncio.timeout(5):
            while len(app.state.key_ring.held()) < 4:  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.02)
