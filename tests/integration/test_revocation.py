"""A revoked key stops working everywhere within a second, also while the gateway had it cached.

A machine that others use is late now and then, so it is the best of several tries that keeps the promise. Without the
events that make it, a try would take as long as the gateway remembers a key: a minute.
"""

import time
from collections.abc import Callable

from .platforms import Platform

PROMISED_SECONDS = 1.0
TRIES = 5


def status_of(platform: Platform, key: str) -> int:
    return platform.evaluate(key, "nothing-here").status_code


def seconds_until_refused(platform: Platform, key: str, end: Callable[[], int]) -> float:
    # 404 is OFREP's answer for an unknown flag: the key was accepted, and now the gateway holds it.
    assert [status_of(platform, key) for _ in range(3)] == [404, 404, 404]
    ended_at = time.monotonic()
    assert end() == 204
    while status_of(platform, key) != 401:
        assert time.monotonic() - ended_at < 20 * PROMISED_SECONDS
    return time.monotonic() - ended_at


def test_a_revoked_key_is_refused_within_a_second_while_it_was_cached(platform: Platform) -> None:
    def revoke_one() -> float:
        made = platform.make_key(scopes=["flags:evaluate"], environment="production")
        path = f"/v1/api-keys/{made['id']}"
        took = seconds_until_refused(
            platform, made["secret"], lambda: platform.operator.delete(path).status_code
        )
        assert status_of(platform, made["secret"]) == 401
        return took

    assert min(revoke_one() for _ in range(TRIES)) < PROMISED_SECONDS


def test_a_deleted_organizations_keys_are_refused_within_a_second(platform: Platform) -> None:
    def delete_one() -> float:
        created = platform.operator.post("/v1/organizations", json={"name": "Short-lived"})
        organization = created.json()["id"]
        key = platform.create_key(
            scopes=["flags:evaluate"], environment="production", organization=organization
        )
        path = f"/v1/organizations/{organization}"
        return seconds_until_refused(platform, key, lambda: platform.operator.delete(path).status_code)

    assert min(delete_one() for _ in range(TRIES)) < PROMISED_SECONDS


def test_a_rotated_key_lives_until_its_grace_ends(platform: Platform) -> None:
    made = platform.make_key(scopes=["flags:evaluate"], environment="production")
    assert status_of(platform, made["secret"]) == 404
    rotated = platform.operator.post(f"/v1/api-keys/{made['id']}/rotate", json={"graceSeconds": 5}).json()
    assert status_of(platform, rotated["secret"]) == 404
    assert status_of(platform, made["secret"]) == 404
    time.sleep(5.5)
    assert (status_of(platform, made["secret"]), status_of(platform, rotated["secret"])) == (401, 404)
