from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from undercroft.launcher import db_command
from undercroft.launcher.database_servers import EmbeddedServer
from undercroft.launcher.errors import LauncherError
from undercroft.launcher.options import DbOptions
from undercroft.shared import migrations
from undercroft.shared.migrations import MigrationError
from undercroft.shared.postgres_server import DataDirectoryLockedError


@pytest.fixture
async def database_url(create_database: Callable[[], Awaitable[str]]) -> str:
    url = make_url(await create_database()).set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


def options_for(action: str, tmp_path: Path, url: str | None = None, **values: Any) -> DbOptions:
    return replace(DbOptions("check", tmp_path, database_url=url), **{"action": action, **values})


def run_in_thread(options: DbOptions) -> None:
    """Run the command as a process of its own would: without a running loop."""
    import threading

    failures: list[BaseException] = []

    def work() -> None:
        try:
            db_command.run(options)
        except BaseException as error:  # noqa: BLE001  raised again in the test's thread
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    for failure in failures:
        raise failure


async def test_every_schema_is_migrated_checked_and_taken_back(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run_in_thread(options_for("upgrade", tmp_path, database_url))
    run_in_thread(options_for("upgrade", tmp_path, database_url))
    run_in_thread(options_for("check", tmp_path, database_url))
    run_in_thread(options_for("downgrade", tmp_path, database_url, service="flags", revision="base"))
    run_in_thread(options_for("upgrade", tmp_path, database_url, service="flags", revision="+1"))

    assert capsys.readouterr().out.splitlines() == [
        "identity: migrated",
        "flags: migrated",
        "identity: already up to date",
        "flags: already up to date",
        "identity: models and migrations agree",
        "flags: models and migrations agree",
        "flags: migrated back to base",
        "flags: migrated to +1",
    ]


async def test_an_impossible_revision_is_told(database_url: str, tmp_path: Path):
    with pytest.raises(MigrationError, match="nowhere"):
        run_in_thread(options_for("downgrade", tmp_path, database_url, service="flags", revision="nowhere"))


async def test_a_written_revision_is_named(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked = []

    async def write(url: str, package: str, message: str, *, autogenerate: bool) -> list[Path]:
        asked.append((make_url(url).username, package, message, autogenerate))
        return [Path("versions/new.py")]

    monkeypatch.setattr(migrations, "revision", write)

    run_in_thread(
        options_for("revision", tmp_path, database_url, service="flags", message="add x", is_empty=True)
    )

    assert asked == [("flags", "undercroft.flags", "add x", False)]
    assert capsys.readouterr().out == "wrote versions/new.py\n"


def test_histories_need_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    db_command.run(options_for("history", tmp_path))

    identity, flags = capsys.readouterr().out.removeprefix("identity:\n").split("\nflags:\n")
    assert identity.splitlines()[-1].startswith("<base> -> ")
    assert flags.splitlines()[-1].startswith("<base> -> ")
    assert list(tmp_path.iterdir()) == []


def test_heads_are_joined_without_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(migrations, "merge", lambda package, message: [Path(package, message)])

    db_command.run(options_for("merge", tmp_path, service="flags", message="both"))

    assert capsys.readouterr().out == "wrote undercroft.flags/both\n"


def test_an_unknown_service_is_refused(tmp_path: Path):
    with pytest.raises(LauncherError, match="there is no service 'nonsense'"):
        db_command.run(options_for("check", tmp_path, service="nonsense"))


@pytest.mark.parametrize(("is_up", "calls"), [(False, ["start", "wait", "stop"]), (True, ["start"])])
def test_a_server_that_is_up_already_is_joined_and_left_running(
    *, is_up: bool, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[str] = []

    def start(_: EmbeddedServer) -> None:
        made.append("start")
        if is_up:
            raise DataDirectoryLockedError("in use")

    monkeypatch.setattr(EmbeddedServer, "start", start)
    monkeypatch.setattr(EmbeddedServer, "wait_ready", lambda _: made.append("wait"))
    monkeypatch.setattr(EmbeddedServer, "stop", lambda _: made.append("stop"))
    monkeypatch.setattr(db_command, "_act_on_each", nothing)

    db_command.run(options_for("check", tmp_path))

    assert made == calls


async def nothing(*_: object) -> None:
    """Stand for the migrations, which need a server."""
