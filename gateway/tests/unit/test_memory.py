from gateway.tests.factories import USER

from undercroft.gateway.auth.credentials import Credential
from undercroft.gateway.auth.memory import CredentialMemory, Retention
from undercroft.gateway.errors import AccessEndedError
from undercroft.shared.auth import Principal


def memory(size: int = 3) -> CredentialMemory:
    return CredentialMemory(Retention(size=size, fresh_seconds=60, stale_seconds=600))


def credential(*tags: str, verified_at: float = 0) -> Credential:
    return Credential(Principal(USER, "user"), verified_at, None, (), tags)


def test_the_oldest_makes_room():
    remembered = memory()
    for name in (b"a", b"b", b"a", b"c", b"d"):
        remembered.remember(name, credential(name.decode()))
    assert [remembered.find(name) is not None for name in (b"a", b"b", b"c", b"d")] == [
        True,
        False,
        True,
        True,
    ]


def test_what_is_stale_makes_room_at_once():
    remembered = memory(100)
    remembered.remember(b"old", credential("x"))
    remembered.remember(b"young", credential("x", verified_at=500))
    remembered.remember(b"new", credential("x", verified_at=600))
    assert [remembered.find(name) is not None for name in (b"old", b"young", b"new")] == [False, True, True]


def test_a_tag_forgets_everything_that_has_it_and_nothing_else():
    remembered = memory(100)
    remembered.remember(b"a", credential("user", "org"))
    remembered.remember(b"b", credential("other", "org"))
    remembered.forget("user")
    assert (remembered.find(b"a"), remembered.find(b"b")) == (None, credential("other", "org"))
    remembered.forget("org")
    remembered.forget("org")
    assert remembered.find(b"b") is None


def test_nothing_is_left_of_what_was_forgotten():
    remembered = memory(100)
    for number in range(50):
        remembered.remember(b"%d" % number, credential(f"token{number}", "org"))
    remembered.forget("org")
    assert (remembered._credentials, remembered._tagged) == ({}, {})


def test_a_refusal_ends_after_moments():
    remembered = memory()
    remembered.refuse(b"a", AccessEndedError, now=0)
    assert remembered.find_refusal(b"a", 4.9) is AccessEndedError
    assert remembered.find_refusal(b"a", 5.0) is None
    assert remembered.find_refusal(b"b", 0.0) is None


def test_a_refusal_replaces_what_was_known():
    remembered = memory()
    remembered.remember(b"a", credential("x"))
    remembered.refuse(b"a", AccessEndedError, now=0)
    assert remembered.find(b"a") is None


def test_wrong_credentials_push_out_no_good_ones():
    remembered = memory()
    remembered.remember(b"good", credential("x"))
    for number in range(10_001):
        remembered.refuse(b"%d" % number, AccessEndedError, now=0)
    assert remembered.find(b"good") is not None
    assert len(remembered._refused) == 1
