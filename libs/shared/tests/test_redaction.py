from datetime import UTC, datetime
from uuid import UUID

import pytest
from pydantic import BaseModel, SecretBytes, SecretStr
from typing_extensions import override

from undercroft.shared.redaction import REDACTED, is_secret_name, redact


class Login(BaseModel):
    email: str
    password: str


class Unprintable:
    @override
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "Proxy-Authorization",
        "secret",
        "client_secret",
        "clientSecret",
        "token",
        "access_token",
        "refreshToken",
        "password",
        "new_password",
        "passwd",
        "Cookie",
        "Set-Cookie",
        "api_key",
        "apiKey",
        "X-API-Key",
        "credentials",
        "private_key",
        "Undercroft-Principal",
    ],
)
def test_names_of_secrets_are_known_in_every_spelling(name: str):
    assert is_secret_name(name)
    assert redact({name: "hunter2", "nested": [{name: ["hunter2"]}]}) == {
        name: REDACTED,
        "nested": [{name: REDACTED}],
    }


@pytest.mark.parametrize(
    "name", ["event", "api_key_id", "token_count", "secret_created_at", "token_type", "keyboard", ""]
)
def test_names_that_only_speak_of_secrets_are_kept(name: str):
    assert redact({name: "plain"}) == {name: "plain"}


def test_the_absence_of_a_secret_is_told():
    assert redact({"password": None, "has_token": True}) == {"password": None, "has_token": True}


def test_secret_types_are_redacted_under_any_name():
    assert redact({"value": SecretStr("hunter2"), "list": [SecretBytes(b"hunter2")]}) == {
        "value": REDACTED,
        "list": [REDACTED],
    }


def test_models_are_walked_by_field():
    assert redact({"body": Login(email="a@example.org", password="hunter2")}) == {
        "body": {"email": "a@example.org", "password": REDACTED}
    }


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (
            "key uc_live_01h455vb4pex5vsknk084sn02q_AbC123 refused",
            f"key uc_live_01h455vb4pex5vsknk084sn02q{REDACTED} refused",
        ),
        ("sent Authorization: Bearer eyJhbGci.abc.def", f"sent Authorization: Bearer {REDACTED}"),
        ("BASIC dXNlcjpwYXNzd29yZA==", f"BASIC {REDACTED}"),
        ("postgresql://flags:hunter2@db:5432/x", f"postgresql://flags:{REDACTED}@db:5432/x"),
        ("redis://:hunter2@cache/0", f"redis://:{REDACTED}@cache/0"),
        ("http://example.org:8080/a@b", "http://example.org:8080/a@b"),
        ("the bearer of news", "the bearer of news"),
    ],
)
def test_secrets_inside_a_text_are_cut_out(text: str, safe: str):
    assert redact({"event": text}) == {"event": safe}


def test_values_that_json_knows_stay_as_they_are():
    values = {"n": 1, "f": 1.5, "b": True, "none": None, "at": datetime.now(UTC), "id": UUID(int=1)}
    assert redact(values) == values


def test_other_values_become_text():
    assert redact({"b": b"1234", "e": ValueError("no"), "u": Unprintable(), "s": {1}, "t": (1, "a")}) == {
        "b": "<4 bytes>",
        "e": "no",
        "u": "<Unprintable>",
        "s": [1],
        "t": [1, "a"],
    }


def test_keys_become_text():
    assert redact({"map": {1: "a", UUID(int=1): "b", "client_secret": "c"}}) == {
        "map": {"1": "a", str(UUID(int=1)): "b", "client_secret": REDACTED}
    }


def test_a_long_text_is_cut():
    cut = redact({"event": "x" * 20_000})["event"]
    assert str(cut).endswith("... 3616 more")
    assert len(str(cut)) < 16_500


def test_the_number_of_values_is_bounded():
    wide = {"list": list(range(5_000)), "after": 1}
    assert redact(wide) == {"list": [*range(999), "4001 more"], "...": "1 more"}
    assert list(redact({str(n): n for n in range(2_000)}))[-1] == "..."


def test_a_value_that_contains_itself_is_bounded():
    circle: dict[str, object] = {"name": "a"}
    circle["self"] = [circle]
    assert "'...'" in str(redact(circle))
