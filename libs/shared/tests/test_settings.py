from pathlib import Path

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from undercroft.shared.settings import (
    DatabaseSettings,
    SettingsError,
    derive_key,
    describe_settings,
    load_settings,
)


class ThingSettings(DatabaseSettings):
    """Settings of a thing."""

    model_config = SettingsConfigDict(env_prefix="THING_")
    service_name: str = "thing"
    port: int = 9000


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THING_SECRET_KEY", "s" * 32)
    monkeypatch.setenv("THING_DATABASE_URL", "postgresql+asyncpg://thing@localhost/x")
    return monkeypatch


def test_settings_come_from_the_prefixed_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("THING_HOST", "0.0.0.0")
    assert load_settings(ThingSettings).host == "0.0.0.0"


def test_arguments_win_over_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("THING_PORT", "1000")
    assert load_settings(ThingSettings, port=2000).port == 2000


def test_a_dot_env_file_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("THING_HOST=::1\n")
    assert load_settings(ThingSettings).host == "::1"


def test_a_secret_can_come_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("f" * 40 + "\n")
    environment.delenv("THING_SECRET_KEY")
    environment.setenv("THING_SECRET_KEY_FILE", str(secret))
    assert load_settings(ThingSettings).secret_key.get_secret_value() == "f" * 40


def test_structured_settings_can_come_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text('{"gateway|thing": "abc"}')
    environment.setenv("THING_PRINCIPAL_KEYS_FILE", str(keys))
    assert load_settings(ThingSettings).principal_keys["gateway|thing"].get_secret_value() == "abc"


def test_an_unreadable_secret_file_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("THING_SECRET_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match="THING_SECRET_KEY_FILE: cannot read"):
        load_settings(ThingSettings)


def test_an_oversized_secret_file_is_refused(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 70_000)
    environment.setenv("THING_SECRET_KEY_FILE", str(tmp_path / "big"))
    with pytest.raises(SettingsError, match="exceeds"):
        load_settings(ThingSettings)


def test_a_wrong_value_is_one_line_that_names_the_variable_and_not_the_value(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("THING_SECRET_KEY", "too-short-secret")
    environment.setenv("THING_LOG_LEVEL", "loud")
    with pytest.raises(SettingsError) as caught:
        load_settings(ThingSettings)
    message = str(caught.value)
    assert "THING_SECRET_KEY" in message
    assert "THING_LOG_LEVEL" in message
    assert "too-short-secret" not in message
    assert "\n" not in message


def test_a_structured_setting_that_is_no_json_is_one_line_too(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("THING_PRINCIPAL_KEYS", "{not json")
    with pytest.raises(SettingsError, match="THING_PRINCIPAL_KEYS"):
        load_settings(ThingSettings)


def test_derived_keys_differ_by_label_and_hold_their_length() -> None:
    secret = SecretStr("s" * 32)
    assert derive_key(secret, "a") != derive_key(secret, "b")
    assert derive_key(secret, "a") == derive_key(secret, "a")
    assert len(derive_key(secret, "a", length=16)) == 16


def test_a_file_that_is_no_json_is_one_line_too(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("{not json")
    environment.setenv("THING_PRINCIPAL_KEYS_FILE", str(tmp_path / "keys"))
    with pytest.raises(SettingsError, match="THING_PRINCIPAL_KEYS"):
        load_settings(ThingSettings)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://thing:a%40b@db:5433/x", "postgresql+asyncpg://thing:a%40b@db:5433/x"),
        ("postgres://thing@db/x?sslmode=require", "postgresql+asyncpg://thing@db/x?ssl=require"),
        ("postgresql+asyncpg://thing@/x?host=%2Frun", "postgresql+asyncpg://thing@/x?host=%2Frun"),
    ],
)
def test_a_database_address_is_taken_as_it_is_usually_written(
    environment: pytest.MonkeyPatch, given: str, used: str
) -> None:
    environment.setenv("THING_DATABASE_URL", given)
    assert load_settings(ThingSettings).database_url.get_secret_value() == used


@pytest.mark.parametrize(
    "given",
    ["nonsense", "mysql://thing@db/x", "postgresql://thing@db", "postgresql://thing:secret@db:port/x"],
)
def test_a_wrong_database_address_is_one_line_without_it(environment: pytest.MonkeyPatch, given: str) -> None:
    environment.setenv("THING_DATABASE_URL", given)
    with pytest.raises(SettingsError) as caught:
        load_settings(ThingSettings)
    assert "THING_DATABASE_URL" in str(caught.value)
    assert "must be of the form postgresql://role:password@host:5432/database" in str(caught.value)
    assert given not in str(caught.value)


@pytest.mark.parametrize("address", ["nonsense", "http://localhost:6379"])
def test_an_address_that_is_no_redis_is_refused(environment: pytest.MonkeyPatch, address: str) -> None:
    environment.setenv("THING_REDIS_URL", address)
    with pytest.raises(SettingsError, match="THING_REDIS_URL: must be of the form redis://"):
        load_settings(ThingSettings)


def test_an_address_of_a_redis_is_taken(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("THING_REDIS_URL", "rediss://cache:6380/1")
    assert load_settings(ThingSettings).redis_url is not None


class DescribedSettings(ThingSettings):
    """Settings with a default of every kind."""

    ratio: float = Field(0.5, description="A ratio.")
    seconds: float = Field(10.0, description="A time.")
    names: tuple[str, ...] = Field(("a", "b"), description="Names.")
    table: dict[str, int] = Field({"a": 1}, description="A table.")
    token: SecretStr = Field(SecretStr("not for everybody"), description="A token.")


def test_every_setting_is_described_as_its_variable_takes_it() -> None:
    described = {each.variable: each for each in describe_settings(DescribedSettings)}
    assert all(each.variable.startswith("THING_") for each in described.values())
    assert described["THING_LOG_LEVEL"].choices == ("debug", "info", "warning", "error")
    assert described["THING_LOG_LEVEL"].description == "Least level logged."
    assert {name.removeprefix("THING_"): each.default for name, each in described.items()} == {
        "SERVICE_NAME": "thing",
        "HOST": "127.0.0.1",
        "PORT": "9000",
        "STOP_GRACE_SECONDS": "25",
        "ENVIRONMENT": "development",
        "LOG_FORMAT": "auto",
        "LOG_LEVEL": "info",
        "ACCESS_LOG": "true",
        "OTLP_ENDPOINT": "none",
        "SECRET_KEY": None,
        "PRINCIPAL_KEYS": "none",
        "REDIS_URL": "none",
        "DATABASE_URL": None,
        "DATABASE_POOL_SIZE": "10",
        "DATABASE_STATEMENT_TIMEOUT_SECONDS": "10",
        "RATIO": "0.5",
        "SECONDS": "10",
        "NAMES": '["a","b"]',
        "TABLE": '{"a":1}',
        "TOKEN": "a secret",
    }
