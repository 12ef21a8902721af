"""The journey of a back-end team: flags through the API, a key, and the public OpenFeature SDK behind the gateway."""

from collections.abc import Iterator

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from .ofrep import check_response
from .platforms import Platform

FLAGS = {
    "flags": {
        "on-off": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"},
        "greeting": {"state": "ENABLED", "variants": {"hi": "hi", "bye": "bye"}, "defaultVariant": "hi"},
        "retries": {"state": "ENABLED", "variants": {"few": 3, "many": 30}, "defaultVariant": "few"},
        "ratio": {"state": "ENABLED", "variants": {"one": 1.0, "half": 0.5}, "defaultVariant": "one"},
        "theme": {"state": "ENABLED", "variants": {"dark": {"background": "#000"}}, "defaultVariant": "dark"},
        "beta": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": {"if": [{"ends_with": [{"var": "email"}, "@example.com"]}, "on", None]},
        },
        "retired": {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on"},
        "own": {
            "state": "ENABLED",
            "variants": {"mine": "mine", "other": "other"},
            "defaultVariant": "other",
            "targeting": {"if": [{"starts_with": [{"var": "organization.id"}, "org_"]}, "mine", None]},
        },
    }
}


@pytest.fixture(scope="module")
def key(platform: Platform) -> str:
    platform.operator.post("/v1/environments", json={"key": "sdk", "name": "SDK"})
    stored = platform.operator.put("/v1/environments/sdk/flagd", json=FLAGS)
    assert stored.status_code == 200, stored.text
    key = platform.create_key(scopes=["flags:evaluate"], environment="sdk")
    platform.wait_for_flag(key, "on-off")
    return key


def client_with(platform: Platform, headers: dict[str, str], domain: str) -> OpenFeatureClient:
    provider = OFREPProvider(platform.url, headers_factory=lambda: headers)
    provider.session.hooks["response"].append(check_response)
    api.set_provider(provider, domain)
    return api.get_client(domain)


@pytest.fixture
def client(platform: Platform, key: str) -> Iterator[OpenFeatureClient]:
    yield client_with(platform, {"Authorization": f"Bearer {key}"}, "sdk")
    api.clear_providers()


def test_a_boolean(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("on-off", default_value=False)
    assert (details.value, details.variant, details.reason) == (True, "on", Reason.STATIC)


def test_a_string(client: OpenFeatureClient) -> None:
    assert client.get_string_value("greeting", "nothing") == "hi"


def test_an_integer(client: OpenFeatureClient) -> None:
    assert client.get_integer_value("retries", 0) == 3


def test_a_float_stays_a_float(client: OpenFeatureClient) -> None:
    details = client.get_float_details("ratio", 0.0)
    assert (details.value, details.error_code) == (1.0, None)


def test_an_object(client: OpenFeatureClient) -> None:
    assert client.get_object_value("theme", {}) == {"background": "#000"}


@pytest.mark.parametrize(
    ("email", "value", "reason"),
    [("ada@example.com", True, Reason.TARGETING_MATCH), ("ada@elsewhere.com", False, Reason.DEFAULT)],
)
def test_targeting(client: OpenFeatureClient, email: str, value: bool, reason: Reason) -> None:  # noqa: FBT001
    context = EvaluationContext("user-1", {"email": email})
    details = client.get_boolean_details("beta", not value, context)
    assert (details.value, details.reason) == (value, reason)


def test_a_disabled_flag_leaves_the_decision_to_the_caller(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("retired", default_value=False)
    assert (details.value, details.reason, details.error_code) == (False, Reason.DISABLED, None)


def test_an_unknown_flag(client: OpenFeatureClient) -> None:
    details = client.get_string_details("nowhere", "fallback")
    assert (details.value, details.error_code) == ("fallback", ErrorCode.FLAG_NOT_FOUND)


def test_another_type_is_a_mismatch(client: OpenFeatureClient) -> None:
    details = client.get_integer_details("greeting", 7)
    assert (details.value, details.error_code) == (7, ErrorCode.TYPE_MISMATCH)


@pytest.mark.parametrize("credential", ["nonsense", "uc_live_01h455vb4pex5vsknk084sn02q_wrong"])
def test_a_wrong_key_gets_the_fallback_and_an_error(platform: Platform, credential: str) -> None:
    client = client_with(platform, {"Authorization": f"Bearer {credential}"}, "wrong")
    details = client.get_boolean_details("on-off", default_value=False)
    assert (details.value, details.error_message) == (False, "unauthorized")


def test_the_key_is_accepted_as_x_api_key_too(platform: Platform, key: str) -> None:
    client = client_with(platform, {"X-API-Key": key}, "x-api-key")
    assert client.get_boolean_value("on-off", default_value=False) is True


def test_a_flag_can_target_the_callers_organization(
    platform: Platform, client: OpenFeatureClient, key: str
) -> None:
    organization = platform.operator.post("/v1/organizations", json={"name": "Acme"}).json()["id"]
    owned = platform.create_key(scopes=["flags:evaluate"], environment="sdk", organization=organization)
    theirs = client_with(platform, {"Authorization": f"Bearer {owned}"}, "owned")
    assert theirs.get_string_value("own", "none") == "mine"
    assert client.get_string_value("own", "none") == "other"
