"""Addresses of PostgreSQL databases: whether one is complete, and how messages name what it leads to."""

from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg")


def is_complete(url: str) -> bool:
    """Tell whether it is an address as libpq, providers and SQLAlchemy write it, and names a database."""
    try:
        parts = urlsplit(url)
        return bool(parts.scheme in SCHEMES and parts.path.strip("/") and parts.port != 0)
    except ValueError:
        return False


def place_of(url: str) -> str:
    """Name the database and where it is, without credentials: `flags at db:5432`, `flags at the socket in /run`.

    The host stands before the path, or in the query as `host` and `port`, which is how sockets are written.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = unquote(parts.netloc.rpartition("@")[2]) or ",".join(query.get("host", ()))
    port = "".join(query.get("port", ())[:1])
    where = f"{host}:{port}" if host and port else host
    if where.startswith("/"):
        where = f"the socket in {where}"
    return f"{unquote(parts.path.strip('/'))} at {where or 'the default host'}"
