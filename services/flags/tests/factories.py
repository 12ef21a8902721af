"""Builders of what the tests of the flags service talk about."""

from collections.abc import Mapping
from uuid import UUID

from pydantic import SecretStr

from undercroft.flags.settings import FlagsSettings
from undercroft.shared.auth import Kind, Principal
from undercroft.shared.settings import load_settings
from undercroft.shared.testing import TEST_SECRET, api_key_principal, principal_headers, principal_keys

ORGANIZATION = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
ORGANIZATION_ID = "org_01h455vb4pex5vsknk084sn02q"


def settings(database_url: str, **values: object) -> FlagsSettings:
    """Settings of a service on that database."""
    return load_settings(
        FlagsSettings,
        database_url=SecretStr(database_url),
        secret_key=TEST_SECRET,
        principal_keys=principal_keys("flags"),
        access_log=False,
        **values,
    )


def caller(
    *scopes: str, organization_id: UUID | None = None, environment: str | None = None
) -> Mapping[str, str]:
    """Headers of an API key with these scopes."""
    principal = api_key_principal(*scopes, organization_id=organization_id, environment=environment)
    return principal_headers(principal, audience="flags")


def customer(*, environment: str | None = "production", plan: str | None = None) -> Mapping[str, str]:
    """Headers of an organization's key that evaluates flags."""
    principal = Principal(
        subject="key_01h455vb4pex5vsknk084sn02q",
        kind="api_key",
        organization_id=ORGANIZATION,
        scopes=frozenset({"flags:evaluate"}),
        environment=environment,
        plan=plan,
    )
    return principal_headers(principal, audience="flags")


def operator() -> Mapping[str, str]:
    """Headers of the operator's own key. Signed anew each time: a principal lives for 60 s."""
    return caller("operator")


def definition(**members: object) -> dict[str, object]:
    """A boolean flag that is on."""
    return {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "on",
        **members,
    }


def targeted(rule: object, **members: object) -> dict[str, object]:
    """A boolean flag that is off unless the rule says otherwise."""
    return definition(defaultVariant="off", targeting=rule, **members)


def document(**flags: object) -> dict[str, object]:
    """A flagd document of these flags; underscores in names stand for hyphens."""
    return {"flags": {name.replace("_", "-"): flag for name, flag in flags.items()}}


def person(kind: Kind = "user") -> Mapping[str, str]:
    """Headers of somebody who signed in, or of an OAuth client."""
    principal = Principal("usr_01h455vb4pex5vsknk084sn02q", kind, ORGANIZATION, frozenset({"flags:evaluate"}))
    return principal_headers(principal, audience="flags")


def by_rules(*rules: object, **members: object) -> dict[str, object]:
    """A boolean flag that is off unless a rule applies."""
    return definition(defaultVariant="off", rules=list(rules), **members)


def condition(attribute: str, operator: str, value: object, **members: object) -> dict[str, object]:
    """A condition with one value."""
    return {"attribute": attribute, "operator": operator, "value": value, **members}
