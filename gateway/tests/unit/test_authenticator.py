import asyncio

import pytest
from gateway.tests.factories import ORGANIZATION, OTHER_ORGANIZATION, Nobody, no_proofs

from undercroft.gateway.auth.authenticator import Authenticator
from undercroft.gateway.auth.credentials import Credential, Presented
from undercroft.gateway.auth.identity_client import VerifiedKey
from undercroft.gateway.auth.memory import Retention
from undercroft.gateway.auth.resolving import KeyResolver
from undercroft.gateway.errors import (
    AddressNotAllowedError,
    CredentialsInvalidError,
    MalformedRequestError,
    OrganizationNotFoundError,
)
from undercroft.shared.errors import UnavailableError
from undercroft.shared.events import CloudEvent
from undercroft.shared.ids import TypeId, new_uuid7
from undercroft.shared.tokens import mint_token

TOKEN = mint_token("live", new_uuid7())
SECRET = TOKEN.text
KEY_ID = str(TypeId("key", TOKEN.id))


def event(kind: str, subject: str) -> CloudEvent:
    return CloudEvent.model_validate(
        {
            "id": "evt_1",
            "source": "/identity",
            "type": f"dev.undercroft.{kind}",
            "subject": subject,
            "time": "2026-11-23T00:00:00Z",
            "data": {},
        }
    )


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Verifier:
    """Answers what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = asyncio.Event()
        self.go.set()
        self.properties: dict[str, object] = {}
        self.failure: Exception | None = None
        self.is_known = True

    async def verify(self, secret: str) -> VerifiedKey | None:
        self.calls += 1
        known = self.is_known
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        if not known:
            return None
        answer = {
            "keyId": KEY_ID,
            "organizationId": str(ORGANIZATION),
            "scopes": ["flags:read"],
            "environment": "production",
            "expiresAt": None,
            "kind": "api_key",
            **self.properties,
        }
        return VerifiedKey.model_validate(answer)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


@pytest.fixture
def authenticator(verifier: Verifier, clock: Clock) -> Authenticator:
    return Authenticator(
        keys=KeyResolver(verifier, clock=clock),
        tokens=Nobody(),
        streams=Nobody(),
        proofs=no_proofs(),
        retention=Retention(size=100, fresh_seconds=60, stale_seconds=600),
        clock=clock,
    )


async def use(authenticator: Authenticator, secret: str = SECRET) -> Credential:
    presented = Presented(secret)
    return authenticator.recall(presented) or await authenticator.verify(presented)


async def test_a_key_is_verified_once(authenticator: Authenticator, verifier: Verifier):
    credentials = [await use(authenticator) for _ in range(3)]
    assert verifier.calls == 1
    principal = credentials[2].principal
    assert (principal.subject, principal.organization_id) == (KEY_ID, ORGANIZATION.uuid)
    assert (principal.kind, principal.environment) == ("api_key", "production")


async def test_concurrent_callers_ask_once(authenticator: Authenticator, verifier: Verifier):
    verifier.go.clear()
    calls = [asyncio.create_task(use(authenticator)) for _ in range(10)]
    await asyncio.sleep(0.01)
    verifier.go.set()
    await asyncio.gather(*calls)
    assert verifier.calls == 1


async def test_a_caller_who_leaves_takes_nobody_along(authenticator: Authenticator, verifier: Verifier):
    verifier.go.clear()
    calls = [asyncio.create_task(use(authenticator)) for _ in range(2)]
    await asyncio.sleep(0.01)
    calls[0].cancel()
    verifier.go.set()
    assert (await calls[1]).principal.subject == KEY_ID


@pytest.mark.parametrize("secret", ["", "x", SECRET[:-1], SECRET[:-1] + ("0" if SECRET[-1] != "0" else "1")])
async def test_a_wrong_form_or_checksum_asks_nobody(
    authenticator: Authenticator, verifier: Verifier, secret: str
):
    with pytest.raises(CredentialsInvalidError) as caught:
        await use(authenticator, secret)
    assert (caught.value.status, caught.value.code, verifier.calls) == (401, "credentials_invalid", 0)


async def test_a_refused_key_is_remembered_briefly(authenticator: Authenticator, verifier: Verifier):
    verifier.is_known = False
    for _ in range(3):
        with pytest.raises(CredentialsInvalidError):
            await use(authenticator)
    assert verifier.calls == 1


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("api_key.revoked", KEY_ID),
        ("api_key.rotated", KEY_ID),
        ("api_key.updated", KEY_ID),
        ("organization.deleted", str(ORGANIZATION)),
        ("organization.updated", str(ORGANIZATION)),
    ],
)
async def test_a_change_is_known_at_once(
    authenticator: Authenticator, verifier: Verifier, kind: str, subject: str
):
    await use(authenticator)
    verifier.is_known = False
    authenticator.handle_event(event(kind, subject))
    with pytest.raises(CredentialsInvalidError):
        await use(authenticator)


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("api_key.created", KEY_ID),
        ("api_key.revoked", "key_other"),
        ("invitation.created", str(ORGANIZATION)),
        ("signing_key.rotated", KEY_ID),
    ],
)
async def test_what_concerns_others_changes_nothing(
    authenticator: Authenticator, verifier: Verifier, kind: str, subject: str
):
    await use(authenticator)
    authenticator.handle_event(event(kind, subject))
    await use(authenticator)
    assert verifier.calls == 1


async def test_a_verification_that_news_of_the_creation_overtakes_is_remembered(
    authenticator: Authenticator, verifier: Verifier
):
    verifier.go.clear()
    early = asyncio.create_task(use(authenticator))
    await asyncio.sleep(0.01)
    authenticator.handle_event(event("api_key.created", KEY_ID))
    verifier.go.set()
    await early
    await use(authenticator)
    assert verifier.calls == 1


async def test_a_verification_that_a_revocation_overtakes_is_not_remembered(
    authenticator: Authenticator, verifier: Verifier
):
    verifier.go.clear()
    early = asyncio.create_task(use(authenticator))
    await asyncio.sleep(0.01)
    verifier.is_known = False
    authenticator.handle_event(event("api_key.revoked", KEY_ID))
    verifier.go.set()
    await early
    with pytest.raises(CredentialsInvalidError):
        await use(authenticator)


async def test_nobody_joins_a_verification_that_is_older_than_a_revocation(
    authenticator: Authenticator, verifier: Verifier
):
    verifier.go.clear()
    early = asyncio.create_task(use(authenticator))
    await asyncio.sleep(0.01)
    verifier.is_known = False
    authenticator.handle_event(event("api_key.revoked", KEY_ID))
    late = asyncio.create_task(use(authenticator))
    await asyncio.sleep(0.01)
    verifier.go.set()
    await early
    with pytest.raises(CredentialsInvalidError):
        await late


async def test_a_gap_in_the_feed_forgets_everything(authenticator: Authenticator, verifier: Verifier):
    await use(authenticator)
    authenticator.forget_everything()
    await use(authenticator)
    assert verifier.calls == 2


async def test_a_key_is_asked_about_again_after_a_while(
    authenticator: Authenticator, verifier: Verifier, clock: Clock
):
    await use(authenticator)
    clock.now += 61
    verifier.is_known = False
    with pytest.raises(CredentialsInvalidError):
        await use(authenticator)


async def test_a_known_key_works_while_identity_is_away(
    authenticator: Authenticator, verifier: Verifier, clock: Clock
):
    await use(authenticator)
    clock.now += 61
    verifier.failure = UnavailableError("away")
    assert (await use(authenticator)).principal.subject == KEY_ID


async def test_only_the_first_of_many_waits_for_an_identity_that_is_away(
    authenticator: Authenticator, verifier: Verifier, clock: Clock
):
    await use(authenticator)
    clock.now += 61
    verifier.failure = UnavailableError("away")
    for _ in range(5):
        assert (await use(authenticator)).principal.subject == KEY_ID
    assert verifier.calls == 2
    clock.now += 1
    verifier.failure = None
    await use(authenticator)
    await use(authenticator)
    assert verifier.calls == 3


async def test_an_unknown_key_is_unavailable_while_identity_is_away(
    authenticator: Authenticator, verifier: Verifier
):
    verifier.failure = UnavailableError("away")
    with pytest.raises(UnavailableError) as caught:
        await use(authenticator)
    assert (caught.value.status, caught.value.code) == (503, "unavailable")
    assert caught.value.headers["Retry-After"] == "1"


async def test_a_failed_verification_is_not_remembered(authenticator: Authenticator, verifier: Verifier):
    verifier.failure = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await use(authenticator)
    verifier.failure = None
    assert (await use(authenticator)).principal.subject == KEY_ID


@pytest.mark.parametrize(
    "wrong", [{"keyId": "usr_x"}, {"organizationId": "nonsense"}, {"allowedCidrs": ["everywhere"]}]
)
async def test_an_answer_that_makes_no_sense_admits_nobody(
    authenticator: Authenticator, verifier: Verifier, wrong: dict[str, object]
):
    verifier.properties = wrong
    with pytest.raises(UnavailableError):
        await use(authenticator)


async def test_expiry_is_checked_at_every_use(authenticator: Authenticator, verifier: Verifier, clock: Clock):
    verifier.properties = {"expiresAt": "1970-01-01T00:17:00Z"}
    credential = await use(authenticator)
    assert authenticator.check(credential, Presented(SECRET), "192.0.2.1").subject == KEY_ID
    clock.now = 1_020.0
    with pytest.raises(CredentialsInvalidError):
        authenticator.check(credential, Presented(SECRET), "192.0.2.1")


@pytest.mark.parametrize(
    ("address", "is_admitted"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::9", True),
        ("198.51.100.1", False),
        ("unknown", False),
    ],
)
async def test_a_key_works_only_from_its_networks(
    authenticator: Authenticator, verifier: Verifier, address: str, *, is_admitted: bool
):
    verifier.properties = {"allowedCidrs": ["192.0.2.0/24", "2001:db8::/32"]}
    credential = await use(authenticator)
    assert credential.admits(address) is is_admitted


async def test_another_address_is_forbidden(authenticator: Authenticator, verifier: Verifier):
    verifier.properties = {"allowedCidrs": ["192.0.2.0/24"]}
    credential = await use(authenticator)
    with pytest.raises(AddressNotAllowedError) as caught:
        authenticator.check(credential, Presented(SECRET), "198.51.100.1")
    assert (caught.value.status, caught.value.code) == (403, "address_not_allowed")


@pytest.mark.parametrize(
    ("own", "named", "refusal"),
    [
        (str(ORGANIZATION), str(ORGANIZATION), None),
        (str(ORGANIZATION), str(OTHER_ORGANIZATION), OrganizationNotFoundError),
        (str(ORGANIZATION), "acme", MalformedRequestError),
        (None, str(ORGANIZATION), None),
        (None, "", MalformedRequestError),
    ],
    ids=["own", "another's", "nonsense", "the operator's", "empty"],
)
async def test_a_key_acts_in_its_own_organization(
    authenticator: Authenticator,
    verifier: Verifier,
    own: str | None,
    named: str,
    refusal: type[Exception] | None,
):
    verifier.properties = {"organizationId": own}
    credential = await use(authenticator)
    presented = Presented(SECRET, named)
    if refusal is None:
        assert authenticator.check(credential, presented, "192.0.2.1").subject == KEY_ID
    else:
        with pytest.raises(refusal):
            authenticator.check(credential, presented, "192.0.2.1")


async def test_a_change_does_not_touch_answers_about_others(authenticator: Authenticator, verifier: Verifier):
    verifier.go.clear()
    early = asyncio.create_task(use(authenticator))
    await asyncio.sleep(0.01)
    authenticator.handle_event(event("api_key.revoked", "key_other"))
    verifier.go.set()
    await early
    await use(authenticator)
    assert verifier.calls == 1


@pytest.mark.parametrize("kind", ["api_key.created", "api_key.updated"])
async def test_a_refusal_that_an_event_overtakes_is_not_remembered(
    authenticator: Authenticator, verifier: Verifier, kind: str
):
    verifier.is_known = False
    verifier.go.clear()
    early = asyncio.create_task(use(authenticator))
    await asyncio.sleep(0.01)
    authenticator.handle_event(event(kind, KEY_ID))
    verifier.is_known = True
    verifier.go.set()
    with pytest.raises(CredentialsInvalidError):
        await early
    assert (await use(authenticator)).principal.subject == KEY_ID


async def test_an_answer_that_a_gap_overtakes_is_not_remembered(
    authenticator: Authenticator, verifier: Verifier
):
    verifier.go.clear()
    early = asyncio.create_task(use(authenticator))
    await asyncio.sleep(0.01)
    authenticator.forget_everything()
    verifier.go.set()
    await early
    await use(authenticator)
    assert verifier.calls == 2


async def test_staleness_ends(authenticator: Authenticator, verifier: Verifier, clock: Clock):
    await use(authenticator)
    clock.now += 600
    verifier.failure = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await use(authenticator)
