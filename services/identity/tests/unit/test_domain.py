from datetime import UTC, datetime, timedelta

import pytest

from undercroft.identity.domain.api_keys import earliest, first_not_for_keys, normalise_network, unique

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        (" 2001:DB8::1/32 ", "2001:db8::/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::1", "::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_networks_are_written_in_one_way(given: str, canonical: str):
    assert normalise_network(given) == canonical


@pytest.mark.parametrize("given", ["", "example.com", "10.0.0.0/33", "1.2.3", "10.0.0.0/8/8", "::1%eth0"])
def test_what_is_no_network_is_refused(given: str):
    with pytest.raises(ValueError, match=r".*"):
        normalise_network(given)


@pytest.mark.parametrize("scope", ["operator", "flags:read", "flags:write"])
def test_scopes_that_rule_over_all_organizations_are_the_operators(scope: str):
    assert first_not_for_keys(["identity:read", scope], is_of_organization=True) == 1
    assert first_not_for_keys(["identity:read", scope], is_of_organization=False) is None


def test_no_key_holds_a_persons_account():
    assert first_not_for_keys(["account"], is_of_organization=True) == 0
    assert first_not_for_keys(["account"], is_of_organization=False) == 0


def test_other_scopes_are_for_organizations_too():
    scopes = ["identity:write", "flags:evaluate", "usage:ingest", "webhooks:send"]
    assert first_not_for_keys(scopes, is_of_organization=True) is None


def test_repetitions_go_and_order_is_settled():
    assert unique(["b", "a", "b"]) == ["a", "b"]


def test_the_earliest_moment_wins_and_none_means_never():
    assert earliest(NOW, None, NOW - timedelta(days=1)) == NOW - timedelta(days=1)
    assert earliest(None, None) is None
