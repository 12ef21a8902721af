from collections.abc import Callable

import pytest

from undercroft.identity.domain.sealing import SealBrokenError, Sealer

SEALER = Sealer(b"k" * 32)


def test_what_was_sealed_is_opened_in_its_place():
    sealed = SEALER.seal(b"secret", place=b"row 1")
    assert b"secret" not in sealed
    assert SEALER.open(sealed, place=b"row 1") == b"secret"


def test_the_same_secret_is_never_sealed_alike():
    assert SEALER.seal(b"secret", place=b"") != SEALER.seal(b"secret", place=b"")


@pytest.mark.parametrize(
    "change", [lambda sealed: b"", lambda sealed: sealed[:-1], lambda sealed: sealed[::-1]]
)
def test_a_changed_value_is_refused(change: Callable[[bytes], bytes]):
    with pytest.raises(SealBrokenError):
        SEALER.open(change(SEALER.seal(b"secret", place=b"row 1")), place=b"row 1")


def test_another_place_or_key_opens_nothing():
    sealed = SEALER.seal(b"secret", place=b"row 1")
    with pytest.raises(SealBrokenError):
        SEALER.open(sealed, place=b"row 2")
    with pytest.raises(SealBrokenError):
        Sealer(b"o" * 32).open(sealed, place=b"row 1")
