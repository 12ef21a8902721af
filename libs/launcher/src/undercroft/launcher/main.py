"""The `undercroft` command: reads the arguments and hands over. Light, because the database boots meanwhile."""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn, TypeAlias

from typing_extensions import override

from undercroft.launcher.data_directory import NAME, default_location
from undercroft.launcher.errors import LauncherError, explain
from undercroft.launcher.options import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    HEADS,
    DbOptions,
    KeysOptions,
    UpOptions,
    environment,
)

_BIGGEST_PACKAGE: Final = "sqlalchemy"
_LAST_PORT: Final = 65_535
_INTERRUPTED_STATUS: Final = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its status: 0, or 1 with one line that says what to do."""
    started = time.monotonic()
    _keep_bytecode()
    try:
        parsed = _parser().parse_args(arguments)
        status = _COMMANDS[parsed.command](parsed, started)
    except KeyboardInterrupt:
        status = _INTERRUPTED_STATUS
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        sys.stderr.write(f"undercroft: {line}\n")
        status = 1
    sys.exit(status)


def _keep_bytecode() -> None:
    """Where Python is told not to write compiled modules beside the code, keep them in its virtual environment.

    Without them every start takes more than twice as long. Those that an installer left beside the code are as good.
    """
    is_told = sys.dont_write_bytecode and sys.pycache_prefix is None
    if is_told and sys.prefix != sys.base_prefix and not _is_compiled(_BIGGEST_PACKAGE):
        sys.pycache_prefix = str(Path(sys.prefix, "bytecode"))
        sys.dont_write_bytecode = False


def _is_compiled(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.cached is not None and Path(spec.cached).exists()


def _up(parsed: argparse.Namespace, started: float) -> int:
    options = UpOptions(
        data_directory=parsed.data_dir or default_location(),
        host=parsed.host or environment("GATEWAY_HOST") or DEFAULT_HOST,
        port=_port(parsed),
        log_format=parsed.log_format,
        database_url=parsed.database_url,
        redis_url=parsed.redis_url,
        public_url=parsed.public_url or environment("UNDERCROFT_PUBLIC_URL"),
        listen_fds=tuple(parsed.listen_fd),
        lifeline_fd=parsed.lifeline_fd,
    )
    if parsed.reload:
        from undercroft.launcher.reload import serve_and_watch

        return serve_and_watch(options)
    from undercroft.launcher.up import up

    up(options, started=started)
    return 0


def _port(parsed: argparse.Namespace) -> int:
    if parsed.port is not None:
        port: int = parsed.port
        return port
    try:
        return _port_number(environment("GATEWAY_PORT") or str(DEFAULT_PORT))
    except argparse.ArgumentTypeError as error:
        raise LauncherError(f"invalid setting: GATEWAY_PORT: {error}") from None


def _db(parsed: argparse.Namespace, _started: float) -> int:
    from undercroft.launcher.db_command import run

    run(
        DbOptions(
            action=parsed.action,
            data_directory=parsed.data_dir or default_location(),
            database_url=parsed.database_url,
            service=parsed.service,
            revision=getattr(parsed, "revision", HEADS),
            message=getattr(parsed, "message", ""),
            is_empty=getattr(parsed, "empty", False),
        )
    )
    return 0


def _keys(parsed: argparse.Namespace, _started: float) -> int:
    from undercroft.launcher.keys_command import run

    run(KeysOptions(parsed.action, parsed.data_dir or default_location(), parsed.database_url))
    return 0


def _openapi(_parsed: argparse.Namespace, _started: float) -> int:
    from undercroft.launcher.openapi_command import write_openapi

    write_openapi(sys.stdout.buffer)
    return 0


def _secrets(parsed: argparse.Namespace, _started: float) -> int:
    from undercroft.launcher.deployment_secrets import default_directory, make_secrets

    directory = parsed.directory or default_directory()
    made = make_secrets(directory)
    sys.stdout.write(f"{directory}: {'made ' + ', '.join(made) if made else 'everything is there'}\n")
    return 0


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace, float], int]]] = MappingProxyType(
    {"up": _up, "db": _db, "openapi": _openapi, "keys": _keys, "secrets": _secrets}
)


class _Parser(argparse.ArgumentParser):
    @override
    def error(self, message: str) -> NoReturn:
        raise LauncherError(f"{message} (see: {self.prog} --help)")


_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001  argparse names it nowhere else


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="undercroft", description="The platform in one process, and its database commands.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_up(commands)
    _add_db(commands)
    _add_keys(commands)
    commands.add_parser("openapi", help="print the API's OpenAPI document, starting nothing")
    secrets = commands.add_parser(
        "secrets", help="make what is missing of the secrets for docker-compose.yml"
    )
    secrets.add_argument("--directory", type=Path, help="where (deploy/secrets in the checkout)")
    return parser


def _add_up(commands: _Commands) -> None:
    up = commands.add_parser("up", help="start the database and every service, and serve the gateway")
    up.add_argument("--host", help=f"address to listen on (GATEWAY_HOST, else {DEFAULT_HOST})")
    up.add_argument(
        "--port", type=_port_number, help=f"port, 0 for any free one (GATEWAY_PORT, else {DEFAULT_PORT})"
    )
    _add_place(up)
    up.add_argument(
        "--redis-url",
        default=os.environ.get("UNDERCROFT_REDIS_URL") or None,
        help="Redis for limits and caches",
    )
    up.add_argument(
        "--public-url", help="where browsers find the gateway (UNDERCROFT_PUBLIC_URL, else where it listens)"
    )
    up.add_argument("--log-format", choices=("auto", "json", "console"), help="form of the log lines")
    up.add_argument("--reload", action="store_true", help="restart when the checkout's code changes")
    # From the watching parent to its child, see `reload`.
    up.add_argument("--listen-fd", type=int, action="append", default=[], help=argparse.SUPPRESS)
    up.add_argument("--lifeline-fd", type=int, help=argparse.SUPPRESS)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("UNDERCROFT_DATA_DIR") or None,
        help=f"data directory ({NAME} in the checkout, or here)",
    )
    parser.add_argument(
        "--database-url",
        default=os.environ.get("UNDERCROFT_DATABASE_URL") or None,
        help="postgresql:// address of a server to use instead of the embedded one",
    )


def _add_db(commands: _Commands) -> None:
    actions = commands.add_parser("db", help="the schemas' migrations").add_subparsers(
        dest="action", required=True, metavar="action"
    )
    upgrade = _add_action(actions, "upgrade", "migrate forward")
    upgrade.add_argument("revision", nargs="?", default=HEADS, help="where to (the newest)")
    downgrade = _add_action(actions, "downgrade", "migrate back", needs_service=True)
    downgrade.add_argument("revision", help="where to: a revision, -1 or base")
    revision = _add_action(
        actions, "revision", "write a migration from what changed in the models", needs_service=True
    )
    revision.add_argument("-m", "--message", required=True, help="what it does")
    revision.add_argument("--empty", action="store_true", help="compare nothing, for a data migration")
    merge = _add_action(actions, "merge", "join the heads of two branches", needs_service=True)
    merge.add_argument("-m", "--message", default="merge", help="why")
    _add_action(actions, "history", "list the migrations, newest first")
    _add_action(actions, "check", "fail when models and migrations differ")


def _add_keys(commands: _Commands) -> None:
    actions = commands.add_parser("keys", help="the keys that tokens are signed with").add_subparsers(
        dest="action", required=True, metavar="action"
    )
    for name, help_text in (("list", "list them"), ("rotate", "publish new ones, which take over soon")):
        _add_place(actions.add_parser(name, help=help_text))


def _add_action(
    actions: _Commands,
    name: str,
    help_text: str,
    *,
    needs_service: bool = False,
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=help_text)
    _add_place(action)
    # Which services there are is checked by the command: the list is not imported to parse arguments.
    action.add_argument(
        "--service",
        required=needs_service,
        help="one service (all of them)" if not needs_service else "the service",
    )
    return action


def _port_number(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {_LAST_PORT}")
    return port
