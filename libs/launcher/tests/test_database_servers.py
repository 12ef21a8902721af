from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.database_servers import EmbeddedServer, ExternalServer, choose_server
from undercroft.launcher.errors import DatabaseUnusableError

URL = "postgresql://admin:p%40ss@db.example:6543/plat%20form?sslmode=require"


def test_without_a_url_the_data_directory_has_its_own_server(tmp_path: Path):
    assert isinstance(choose_server(DataDirectory(tmp_path), None), EmbeddedServer)


def test_with_a_url_nothing_is_started_or_stopped(tmp_path: Path):
    server = choose_server(DataDirectory(tmp_path), URL)

    server.start()
    server.wait_ready()
    server.stop()

    assert isinstance(server, ExternalServer)
    assert server.is_running
    assert not server.was_new
    assert list(tmp_path.iterdir()) == []


def test_a_role_has_its_own_credentials_at_the_same_place():
    server = ExternalServer(URL)

    url = make_url(server.role_url("flags", "s3:cret"))

    assert (url.drivername, url.username, url.password) == ("postgresql+asyncpg", "flags", "s3:cret")
    assert (url.host, url.port, url.database) == ("db.example", 6543, "plat form")
    assert dict(url.query) == {"ssl": "require"}
    assert server.role_dsn("flags", "x") == "postgresql://flags:x@db.example:6543/plat%20form?sslmode=require"


def test_messages_name_the_place_without_credentials():
    assert ExternalServer(URL).place == "plat form at db.example:6543"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+asyncpg"])
def test_other_spellings_of_the_address_are_understood(scheme: str):
    server = ExternalServer(f"{scheme}://admin@db/platform?ssl=prefer")

    assert server.dsn() == "postgresql://admin@db/platform?sslmode=prefer"
    assert server.dsn(database="other") == "postgresql://admin@db/other?sslmode=prefer"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://root:secret@db/x",
        "postgresql://secret@db",
        "postgresql://secret@db:99999/x",
        "http://[x/y",
    ],
)
def test_an_address_of_another_form_is_refused_without_being_repeated(url: str):
    with pytest.raises(DatabaseUnusableError, match="is not of the form postgresql://") as refusal:
        ExternalServer(url)

    assert "secret" not in str(refusal.value)


def test_the_embedded_server_is_reached_by_its_socket(tmp_path: Path):
    server = EmbeddedServer(DataDirectory(tmp_path))

    url = make_url(server.role_url("flags", "not needed"))

    assert (url.username, url.password, url.database) == ("flags", None, "undercroft")
    assert url.query["host"] == str(server.postgres.socket_directory)
    assert server.role_dsn("flags", "x").startswith("postgresql://flags@/undercroft?host=")
    assert server.was_new
    assert not server.is_running
