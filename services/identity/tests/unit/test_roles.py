import pytest

from undercroft.identity.domain.roles import SCOPES_OF, Role, scopes_within

EVERYTHING = [
    "account",
    "openid",
    "profile",
    "email",
    "offline_access",
    "identity:read",
    "identity:write",
    "identity:api_keys",
    "flags:read",
    "flags:write",
    "flags:evaluate",
    "usage:read",
    "usage:write",
    "usage:ingest",
    "webhooks:read",
    "webhooks:write",
    "webhooks:send",
    "operator",
]
PERSONAL = {"account", "openid", "profile", "email", "offline_access"}


@pytest.mark.parametrize(
    ("lower", "higher"), [("viewer", "developer"), ("developer", "admin"), ("admin", "owner")]
)
def test_each_role_holds_what_the_one_below_holds(lower: str, higher: str):
    assert SCOPES_OF[Role(lower)] <= SCOPES_OF[Role(higher)]


@pytest.mark.parametrize("role", list(Role))
def test_no_role_rules_over_other_organizations(role: Role):
    assert scopes_within(EVERYTHING, role).isdisjoint({"operator", "flags:read", "flags:write"})


def test_a_viewer_only_reads():
    assert scopes_within(EVERYTHING, Role.VIEWER) - PERSONAL == {
        "identity:read",
        "usage:read",
        "webhooks:read",
    }


def test_a_developer_manages_keys_and_not_members():
    scopes = scopes_within(EVERYTHING, Role.DEVELOPER)
    assert "identity:api_keys" in scopes
    assert "identity:write" not in scopes


def test_what_was_not_granted_is_not_gained_by_a_role():
    assert scopes_within(["openid", "usage:read"], Role.OWNER) == {"openid", "usage:read"}


def test_without_an_organization_only_the_person_remains():
    assert scopes_within(EVERYTHING, None) == PERSONAL
