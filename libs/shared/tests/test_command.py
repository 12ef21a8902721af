import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from fastapi import APIRouter, FastAPI
from pydantic_settings import SettingsConfigDict

from undercroft.shared.app import create_service_app
from undercroft.shared.auth import public
from undercroft.shared.command import placeholder_settings, run_command, server_config
from undercroft.shared.settings import DatabaseSettings, ServiceSettings

pytestmark = pytest.mark.usefixtures("fresh_logging")

router = APIRouter()


@router.get("/things")
@public
async def list_things() -> list[str]:
    """List things."""
    return []


class ThingSettings(DatabaseSettings):
    """Serve things."""

    model_config = SettingsConfigDict(env_prefix="THING_")
    service_name: str = "thing"
    port: int = 9000


class DoorSettings(ServiceSettings):
    """Serve a door without a database."""

    model_config = SettingsConfigDict(env_prefix="DOOR_")
    service_name: str = "door"
    port: int = 9001


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


def create_app(settings: ServiceSettings) -> FastAPI:
    return create_service_app(settings, description="Things.", routers=[router], lifespan=lifespan)


def run(*arguments: str, settings: type[ServiceSettings] = ThingSettings) -> None:
    run_command(settings, create_app, package="undercroft.thing", arguments=arguments)


def test_openapi_needs_no_configuration(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    run("openapi")
    document = json.loads(capsysbinary.readouterr().out)
    assert list(document["paths"]) == ["/things"]
    assert document["openapi"].startswith("3.1")


def test_a_missing_setting_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        run("serve")
    error = capsys.readouterr().err
    assert error.startswith("undercroft-thing: invalid setting: THING_SECRET_KEY")
    assert error.count("\n") == 1


def test_a_malformed_principal_key_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOOR_SECRET_KEY", "s" * 32)
    monkeypatch.setenv("DOOR_PRINCIPAL_KEYS", '{"gateway|door": "@"}')
    with pytest.raises(SystemExit):
        run("serve", settings=DoorSettings)
    assert "principal key gateway|door" in capsys.readouterr().err


def test_a_taken_port_is_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("DOOR_SECRET_KEY", "s" * 32)
        monkeypatch.setenv("DOOR_PORT", str(taken.getsockname()[1]))
        with pytest.raises(SystemExit, match="1"):
            run("serve", settings=DoorSettings)
    error = capsys.readouterr().err
    assert error.startswith("undercroft-thing: port ")
    assert error.endswith("is taken: stop what uses it, or choose another one with DOOR_PORT\n")


def test_an_application_that_cannot_start_is_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def fails(_: FastAPI) -> AsyncIterator[None]:
        raise OSError("no disk")
        yield  # type: ignore[unreachable]  # what makes it a generator

    def create_failing_app(settings: ServiceSettings) -> FastAPI:
        return create_service_app(settings, description="", routers=[], lifespan=fails)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    monkeypatch.setenv("DOOR_SECRET_KEY", "s" * 32)
    monkeypatch.setenv("DOOR_PORT", port)
    with pytest.raises(SystemExit, match="1"):
        run_command(DoorSettings, create_failing_app, package="undercroft.door", arguments=["serve"])
    printed = capsys.readouterr()
    assert "no disk" in printed.out
    assert printed.err == "undercroft-door: could not start: the log above says why\n"


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help_lists_every_setting_and_no_value(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("THING_SECRET_KEY", "only-known-to-this-test-" + "s" * 32)
    with pytest.raises(SystemExit, match="0"):
        run(*arguments)
    printed = capsys.readouterr().out
    assert "\n  THING_HOST\n      Address to listen on. Default: 127.0.0.1\n" in printed
    assert "One of debug, info, warning, error. Default: info\n" in printed
    assert "32 characters or more. Required." in " ".join(printed.split())
    assert "only-known-to-this-test" not in printed
    assert max(len(line) for line in printed.splitlines()) <= 80


def test_only_deployables_with_a_database_migrate(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("migrate", settings=DoorSettings)
    assert "invalid choice" in capsys.readouterr().err


def test_placeholder_settings_build_an_app() -> None:
    assert create_app(placeholder_settings(ThingSettings)).title == "Undercroft thing"


def test_the_server_is_bounded_and_quiet() -> None:
    config = server_config(create_app(placeholder_settings(DoorSettings)), host="127.0.0.1", port=0)
    assert (config.access_log, config.server_header, config.timeout_keep_alive) == (False, False, 75)
    assert config.loop == ("asyncio" if sys.platform == "win32" else "uvloop")


async def test_migrations_that_cannot_run_are_one_line(
    create_database: Callable[[], Awaitable[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import asyncio

    monkeypatch.setenv("THING_SECRET_KEY", "s" * 32)
    monkeypatch.setenv("THING_DATABASE_URL", await create_database())
    with pytest.raises(SystemExit, match="1"):
        await asyncio.to_thread(run, "migrate")
    assert capsys.readouterr().err.startswith("undercroft-thing: ")
