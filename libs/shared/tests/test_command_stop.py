import socket

import pytest
from fastapi import FastAPI
from pydantic_settings import SettingsConfigDict

from undercroft.shared import command
from undercroft.shared.settings import ServiceSettings


class DoorSettings(ServiceSettings):
    """Serve a door."""

    model_config = SettingsConfigDict(env_prefix="DOOR_")
    service_name: str = "door"
    port: int = 9001


@pytest.fixture
def graces(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    seen: list[int | None] = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("DOOR_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("DOOR_SECRET_KEY", "0" * 32)
    monkeypatch.setattr(command, "configure_logging", lambda **_: None)
    monkeypatch.setattr(
        command._DrainingServer,
        "run",
        lambda server, sockets: seen.append(server.config.timeout_graceful_shutdown),
    )
    return seen


def serve() -> None:
    command.run_command(DoorSettings, lambda _: FastAPI(), package="undercroft.door", arguments=["serve"])


def test_a_stop_waits_for_requests_in_flight(graces: list[int | None]) -> None:
    serve()
    assert graces == [25]


def test_how_long_a_stop_waits_is_a_setting(
    graces: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_STOP_GRACE_SECONDS", "4")
    serve()
    assert graces == [4]
