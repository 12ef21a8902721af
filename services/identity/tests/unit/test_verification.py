from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from undercroft.identity.errors.api_keys import ApiKeyInvalidError
from undercroft.identity.repository.api_keys import StoredKey, StoredKeys
from undercroft.identity.service.verification import LastUses, VerificationService
from undercroft.shared.ids import new_uuid7
from undercroft.shared.tokens import Token, mint_token

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass
class KnownKeys:
    """A repository that holds what it was given and counts how often it is asked."""

    rows: dict[UUID, StoredKey] = field(default_factory=dict)
    questions: int = 0

    async def find_stored(self, key_id: UUID) -> StoredKey | None:
        self.questions += 1
        return self.rows.get(key_id)


def stored(token: Token, **values: Any) -> StoredKey:
    key = StoredKey(
        id=token.id,
        organization_id=None,
        scopes=["identity:read"],
        environment=None,
        allowed_cidrs=[],
        secret_hash=token.secret_hash,
        previous_secret_hash=None,
        previous_expires_at=None,
        expires_at=None,
    )
    return key._replace(**values)


def service(*rows: StoredKey, last_uses: LastUses | None = None) -> VerificationService:
    keys = KnownKeys({row.id: row for row in rows})
    return VerificationService(cast("StoredKeys", keys), last_uses or LastUses(), clock=lambda: NOW)


async def test_a_good_secret_opens_what_its_key_holds():
    token = mint_token("live", new_uuid7())
    key = stored(token, environment="production", allowed_cidrs=["10.0.0.0/8"], expires_at=NOW + SECOND)
    verified = await service(key).verify(token.text)
    assert (verified.key_id, verified.kind, verified.scopes) == (token.id, "api_key", ["identity:read"])
    assert (verified.environment, verified.allowed_cidrs) == ("production", ["10.0.0.0/8"])
    assert verified.expires_at == NOW + SECOND


async def test_a_key_with_the_operator_scope_is_an_operators():
    token = mint_token("live", new_uuid7())
    assert (await service(stored(token, scopes=["operator"])).verify(token.text)).kind == "operator"


async def test_a_key_ends_at_its_expiry():
    token = mint_token("live", new_uuid7())
    with pytest.raises(ApiKeyInvalidError):
        await service(stored(token, expires_at=NOW)).verify(token.text)


async def test_another_secret_of_the_same_key_opens_nothing():
    token = mint_token("live", new_uuid7())
    other = mint_token("live", token.id)
    with pytest.raises(ApiKeyInvalidError):
        await service(stored(token)).verify(other.text)


async def test_a_mistyped_secret_is_refused_without_a_question():
    keys = KnownKeys()
    verification = VerificationService(cast("StoredKeys", keys), LastUses(), clock=lambda: NOW)
    with pytest.raises(ApiKeyInvalidError):
        await verification.verify(mint_token("live", new_uuid7()).text[:-1] + "!")
    assert keys.questions == 0


async def test_the_previous_secret_opens_until_its_grace_ends():
    old = mint_token("live", new_uuid7())
    new = mint_token("live", old.id)
    key = stored(new, previous_secret_hash=old.secret_hash, previous_expires_at=NOW + SECOND)
    verification = service(key)
    assert (await verification.verify(new.text)).expires_at is None
    assert (await verification.verify(old.text)).expires_at == NOW + SECOND


async def test_the_previous_secret_does_not_outlive_its_key():
    old = mint_token("live", new_uuid7())
    new = mint_token("live", old.id)
    key = stored(
        new,
        previous_secret_hash=old.secret_hash,
        previous_expires_at=NOW + 2 * SECOND,
        expires_at=NOW + SECOND,
    )
    assert (await service(key).verify(old.text)).expires_at == NOW + SECOND


async def test_the_previous_secret_opens_nothing_after_the_grace():
    old = mint_token("live", new_uuid7())
    new = mint_token("live", old.id)
    key = stored(new, previous_secret_hash=old.secret_hash, previous_expires_at=NOW)
    with pytest.raises(ApiKeyInvalidError):
        await service(key).verify(old.text)


async def test_only_good_secrets_count_as_use():
    token, last_uses = mint_token("live", new_uuid7()), LastUses()
    verification = service(stored(token), last_uses=last_uses)
    await verification.verify(token.text)
    with pytest.raises(ApiKeyInvalidError):
        await verification.verify(mint_token("live", new_uuid7()).text)
    assert last_uses.take() == {token.id: NOW}
    assert last_uses.take() == {}


def test_uses_that_could_not_be_written_are_kept_unless_a_later_one_is_known():
    last_uses, first, second = LastUses(), new_uuid7(), new_uuid7()
    last_uses.note(first, NOW)
    last_uses.put_back({first: NOW - SECOND, second: NOW - SECOND})
    assert last_uses.take() == {first: NOW, second: NOW - SECOND}


def test_memory_is_bounded_while_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undercroft.identity.service.verification._MAX_REMEMBERED", 1)
    last_uses, first = LastUses(), new_uuid7()
    last_uses.note(first, NOW)
    last_uses.note(new_uuid7(), NOW)
    last_uses.note(first, NOW + SECOND)
    assert last_uses.take() == {first: NOW + SECOND}
