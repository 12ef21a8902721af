import pytest

from undercroft.shared.database_urls import is_complete, place_of


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (
            "postgresql://admin:secret@db.example:6543/plat%20form?sslmode=require",
            "plat form at db.example:6543",
        ),
        ("postgres://admin@db/x", "x at db"),
        ("postgresql://[::1]:5432/x", "x at [::1]:5432"),
        ("postgresql+asyncpg://flags@/x?host=%2Frun%2Fpostgresql", "x at the socket in /run/postgresql"),
        ("postgresql:///x?host=/tmp/pg&port=5433&password=secret", "x at the socket in /tmp/pg:5433"),
        ("postgresql://admin:secret@%2Frun%2Fpostgresql/x", "x at the socket in /run/postgresql"),
        ("postgresql:///x?host=a&host=b", "x at a,b"),
        ("postgresql:///x", "x at the default host"),
    ],
)
def test_a_place_is_the_database_and_its_host_or_socket(url: str, place: str):
    assert is_complete(url)
    assert place_of(url) == place


@pytest.mark.parametrize(
    "url",
    ["", "mysql://db/x", "postgresql://db", "postgresql://db/", "postgresql://db:99999/x", "http://[x/y"],
)
def test_other_addresses_are_incomplete(url: str):
    assert not is_complete(url)
