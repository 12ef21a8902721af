"""What the user asked for, after parsing."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from undercroft.shared.listeners import Names

DbAction: TypeAlias = Literal["upgrade", "downgrade", "revision", "merge", "history", "check"]
KeysAction: TypeAlias = Literal["list", "rotate"]
LogFormat: TypeAlias = Literal["auto", "json", "console"]

HEADS = "heads"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
LISTEN_OPTIONS = Names("--host", "--port")


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The options of `up`.

    `public_url` is where browsers and clients find the gateway when that is not where it listens: behind a proxy.
    `database_url` and `redis_url` hold passwords and never appear in a message. Under `--reload` the watching parent
    hands its serving child listening sockets (`listen_fds`) and one end of a pipe that closes when the parent dies
    (`lifeline_fd`).
    """

    data_directory: Path
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    log_format: LogFormat | None = None
    database_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    public_url: str | None = None
    listen_fds: tuple[int, ...] = ()
    lifeline_fd: int | None = None


@dataclass(frozen=True, slots=True)
class DbOptions:
    """The options of `db`; `service` None stands for every service."""

    action: DbAction
    data_directory: Path
    database_url: str | None = field(default=None, repr=False)
    service: str | None = None
    revision: str = HEADS
    message: str = ""
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class KeysOptions:
    """The options of `keys`."""

    action: KeysAction
    data_directory: Path
    database_url: str | None = field(default=None, repr=False)


def environment(variable: str) -> str | None:
    """Return a variable's value from where settings take it too: the environment, else `.env`."""
    if variable in os.environ:
        return os.environ[variable]
    if not Path(".env").is_file():
        return None
    from dotenv import dotenv_values

    return dotenv_values(".env").get(variable)
