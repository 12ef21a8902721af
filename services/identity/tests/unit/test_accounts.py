"""Pure rules of accounts, and the parts that hash, count and read requests."""

import asyncio
from datetime import UTC, datetime
from typing import cast

import pytest
from cashews import Cache
from fastapi import Request

from undercroft.identity.clients.attempts import CachedAttempts
from undercroft.identity.dependencies.devices import client_address
from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.domain.emails import email_key, normalise_address
from undercroft.identity.domain.known_devices import issue_known_device, read_known_device
from undercroft.identity.domain.mails import human_duration
from undercroft.identity.domain.one_time_codes import matching_step, new_recovery_codes, recovery_code_hash
from undercroft.identity.domain.passwords import find_problem, normalise_password
from undercroft.identity.domain.sealing import Sealer
from undercroft.identity.domain.user_agents import describe_user_agent
from undercroft.identity.errors.accounts import HashingBusyError, TooManyAttemptsError
from undercroft.identity.service.password_hashing import HashingPolicy, PasswordHasher
from undercroft.shared.cache import CacheUnavailableError, close_cache, make_cache

LIMIT = AttemptLimit("test", free=2, window_seconds=60, longest_wait_seconds=8)
SEALER = Sealer(bytes(32))


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (" ada@example.com ", "ada@example.com"),
        ("Ada.Lovelace+x@Example.COM", "Ada.Lovelace+x@Example.COM"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_addresses_are_taken_as_mail_is_sent_to_them(given: str, address: str):
    assert normalise_address(given) == address
    assert email_key(address) == address.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@localhost",
        "a da@example.com",
        "ada@exa_mple.com",
        ".ada@example.com",
        "a..b@example.com",
        "ada@-example.com",
        "ada\n@example.com",
        f"{'a' * 65}@example.com",
        f"ada@{'a' * 250}.com",
        "a" * 2_000 + "@example.com",
        f"ada@{'ü' * 80}.example",
    ],
)
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(ValueError, match="no address"):
        normalise_address(text)


def test_passwords_are_compared_however_a_keyboard_writes_them():
    assert normalise_password("re\u0301sume\u0301 ﬁle") == normalise_password("résumé file")


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("correct horse battery", None),
        ("a" * 9, "password_too_short"),
        ("x" + "é" * 600, "password_too_long"),
        ("1234567890", "password_too_common"),
        ("QWERTYUIOP", "password_too_common"),
        ("zzzzzzzzzzzz", "password_too_common"),
        ("my-Grace-is-here", "password_contains_personal_data"),
        ("the.hopper.one", "password_contains_personal_data"),
        ("navy.mil is far", None),
    ],
)
def test_which_passwords_are_taken(password: str, code: str | None):
    problem = find_problem(password, min_length=10, personal=("hopper@navy.mil", "Grace"))
    assert (problem.code if problem else None) == code


def test_a_code_of_the_step_before_is_taken_and_none_twice():
    now = datetime(2026, 11, 1, tzinfo=UTC)
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    from pyotp import TOTP

    step = int(now.timestamp()) // 30
    code = TOTP(secret).generate_otp(step - 1)
    assert matching_step(secret, f"{code[:3]} {code[3:]}", now=now, after=None) == step - 1
    assert matching_step(secret, code, now=now, after=step - 1) is None
    assert matching_step(secret, TOTP(secret).generate_otp(step - 2), now=now, after=None) is None
    assert matching_step(secret, "١٢٣٤٥٦", now=now, after=None) is None


def test_recovery_codes_are_read_however_they_are_copied():
    codes = new_recovery_codes()
    assert len(set(codes)) == 10
    assert recovery_code_hash(codes[0]) == recovery_code_hash(f" {codes[0].upper().replace('-', ' ')} ")


def test_a_known_device_proves_one_account_and_nothing_else_does():
    cookie = issue_known_device(SEALER, "ada@example.com")
    known = read_known_device(SEALER, cookie)
    assert known is not None
    assert known.email_key == "ada@example.com"
    forged = [
        None,
        "",
        "é",
        "A" * 2_000,
        cookie[:-2] + "AA",
        issue_known_device(Sealer(bytes(31) + b"1"), "a"),
    ]
    assert [read_known_device(SEALER, each) for each in forged] == [None] * 6


def test_waits_double_to_a_bound():
    assert [LIMIT.wait_seconds(attempts) for attempts in (1, 2, 3, 4, 5, 50)] == [0, 1, 2, 4, 8, 8]


@pytest.mark.parametrize(
    ("seconds", "said"), [(86_400, "1 day"), (7_200, "2 hours"), (1_800, "30 minutes"), (90, "90 seconds")]
)
def test_durations_are_said_in_words(seconds: float, said: str):
    assert human_duration(seconds) == said


@pytest.mark.parametrize(
    ("user_agent", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("curl/8.5.0", "curl"),
        ("Something (Android)", "A device with Android"),
        ("", "Unknown device"),
    ],
)
def test_devices_are_named(user_agent: str, said: str):
    assert describe_user_agent(user_agent) == said


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("for=192.0.2.43;proto=http", "192.0.2.43"),
        ('for=6.6.6.6, for="[2001:db8:1:2:3::1]";proto=https', "2001:db8:1:2::/64"),
        ("for=6.6.6.6, for=192.0.2.1:80", "192.0.2.1"),
        ('for="[::ffff:192.0.2.9]"', "192.0.2.9"),
        ("for=unknown", "198.51.100.7"),
        ("for=999.1.1.1", "unknown"),
        ("", "198.51.100.7"),
    ],
)
def test_the_address_is_the_one_that_the_gateway_saw(forwarded: str, address: str):
    scope = {
        "type": "http",
        "headers": [(b"forwarded", forwarded.encode())],
        "client": ("198.51.100.7", 1),
    }
    assert client_address(Request(scope)) == address


class Away:
    """A Redis that is away, whatever it is asked."""

    def __getattr__(self, name: str) -> object:
        async def refuse(*_: object, **__: object) -> None:
            raise CacheUnavailableError(name)

        return refuse


@pytest.mark.parametrize("redis", ["there", "away"])
async def test_attempts_wait_are_forgiven_forgotten_and_over_after_the_wait(redis: str):
    own = make_cache(None, prefix="test")
    now = [1_000.0]
    attempts = CachedAttempts(cast("Cache", Away()) if redis == "away" else own, own, clock=lambda: now[0])
    await attempts.begin(LIMIT, "ada")
    await attempts.forgive(LIMIT, "ada")
    await attempts.begin(LIMIT, "ada")
    results = await asyncio.gather(*(attempts.begin(LIMIT, "ada") for _ in range(5)), return_exceptions=True)
    refused = [each for each in results if isinstance(each, TooManyAttemptsError)]
    assert len(refused) == 4
    assert refused[0].headers["Retry-After"] in {"1", "2"}
    await attempts.begin(LIMIT, "eve")
    await attempts.forgive(LIMIT, "nobody")
    await attempts.forget(LIMIT, "ada")
    await attempts.begin(LIMIT, "ada")
    assert [await attempts.use_once("passkey", "a", life_seconds=9) for _ in range(2)] == [True, False]
    await close_cache(own)


def policy(memory_kib: int = 64, iterations: int = 1, wait_seconds: float = 5.0) -> HashingPolicy:
    return HashingPolicy(memory_kib, iterations, 1, concurrency=1, queue=1, wait_seconds=wait_seconds)


async def test_hashing_verifies_whatever_the_keyboard_and_never_without_a_hash():
    hasher = PasswordHasher(policy())
    stored = await hasher.hash("résumé ﬁle for ada")
    assert (await hasher.verify("re\u0301sume\u0301 file for ada", stored)).is_right
    assert not (await hasher.verify("another one", stored)).is_right
    assert not (await hasher.verify("résumé file for ada", None)).is_right
    assert not (await hasher.verify("a" * 2_000, stored)).is_right
    assert not (await hasher.verify("a", "$unknown$")).is_right
    assert hasher.computations == 6
    hasher.close()


async def test_a_full_queue_and_a_long_wait_are_told_at_once():
    hasher = PasswordHasher(policy(memory_kib=65_536, iterations=3))
    results = await asyncio.gather(*(hasher.verify("a", None) for _ in range(6)), return_exceptions=True)
    busy = [each for each in results if isinstance(each, HashingBusyError)]
    assert len(busy) == 4
    assert (busy[0].status, busy[0].code, busy[0].headers["Retry-After"]) == (503, "sign_in_busy", "2")
    slow = PasswordHasher(policy(memory_kib=65_536, iterations=8, wait_seconds=0.01))
    results = await asyncio.gather(*(slow.verify("a", None) for _ in range(2)), return_exceptions=True)
    assert [each.headers["Retry-After"] for each in results if isinstance(each, HashingBusyError)] == ["5"]
    hasher.close()
    slow.close()
