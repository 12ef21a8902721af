"""The platform under test, started as a user would: one process, or every deployable as a process of its own."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr

from undercroft.shared.auth import generate_principal_keys
from undercroft.shared.ids import new_uuid7
from undercroft.shared.tokens import mint_token

from .ofrep import check_httpx

START_TIMEOUT_SECONDS: Final = 60
STOP_TIMEOUT_SECONDS: Final = 15
BIN: Final = Path(sys.executable).parent


@dataclass
class Platform:
    """A running platform: its address, the operator's client, and the processes behind it."""

    url: str
    operator_key: str
    data_directory: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    database_urls: dict[str, str] = field(default_factory=dict)
    secret_keys: dict[str, str] = field(default_factory=dict)
    fetch_mails: Callable[[Path], None] | None = None

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.operator_key}"}
        hooks = {"response": [check_httpx]}
        self.operator = httpx.Client(base_url=self.url, headers=headers, timeout=10, event_hooks=hooks)

    @property
    def mail_directory(self) -> Path:
        """Where mails are written, or, where that is out of reach, copied to when asked for."""
        directory = self.data_directory / "mail"
        if self.fetch_mails is not None:
            self.fetch_mails(directory)
        return directory

    def make_key(
        self, *, scopes: list[str], environment: str | None = None, organization: str | None = None
    ) -> dict[str, Any]:
        path = f"/v1/organizations/{organization}/api-keys" if organization else "/v1/api-keys"
        body = {"name": "test", "scopes": scopes, "environment": environment}
        answer = self.operator.post(
            path, json={name: value for name, value in body.items() if value is not None}
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def create_key(
        self, *, scopes: list[str], environment: str | None = None, organization: str | None = None
    ) -> str:
        return str(self.make_key(scopes=scopes, environment=environment, organization=organization)["secret"])

    def evaluate(self, key: str, flag: str, context: dict[str, object] | None = None) -> httpx.Response:
        answer = httpx.post(
            f"{self.url}/ofrep/v1/evaluate/flags/{flag}",
            json={"context": context or {}},
            headers={"Authorization": f"Bearer {key}"},
            timeout=10,
        )
        check_httpx(answer)
        return answer

    def wait_for_flag(self, key: str, flag: str) -> None:
        deadline = time.monotonic() + 5
        while self.evaluate(key, flag).status_code != 200:
            assert time.monotonic() < deadline, self.evaluate(key, flag).text
            time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        assert process.poll() is None, log.read_text()[-4_000:]
        assert time.monotonic() < deadline, log.read_text()[-4_000:]
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)


@contextmanager
def running(
    command: list[str], *, log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process with its output in `log`; stop it by SIGTERM at the end, by SIGKILL when it will not."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLAGS_", "IDENTITY_", "GATEWAY_"))
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={**clean, **(environment or {})},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            assert process.returncode == 0, f"{command} stopped with {process.returncode}"


@contextmanager
def one_process(directory: Path) -> Iterator[Platform]:
    """Run `undercroft up` on a fresh data directory."""
    port, log, data = free_port(), directory / "up.log", directory / "data"
    command = [
        str(BIN / "undercroft"),
        "up",
        "--port",
        str(port),
        "--data-dir",
        str(data),
        "--log-format",
        "json",
    ]
    with running(command, log=log) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log)
        yield Platform(url, (data / "operator.key").read_text().strip(), data, {"undercroft": process})


@contextmanager
def separate_processes(directory: Path) -> Iterator[Platform]:
    """Run identity, flags and the gateway each on its own Uvicorn, with its own role in one PostgreSQL."""
    import asyncio

    from undercroft.launcher.data_directory import DataDirectory
    from undercroft.launcher.database import provision
    from undercroft.launcher.database_servers import EmbeddedServer

    data = DataDirectory(directory / "data")
    data.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = EmbeddedServer(data)
    server.start()
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.wait_ready()
        roles = ("identity", "flags")
        asyncio.run(provision(server, dict.fromkeys(roles, "")))
        ports = {name: free_port() for name in ("gateway", *roles)}
        operator_key = mint_token("live", new_uuid7()).text
        environments = _environments(ports, operator_key, {role: server.role_url(role, "") for role in roles})
        environments["identity"]["IDENTITY_MAIL_DIRECTORY"] = str(data.path / "mail")
        platform = Platform(f"http://127.0.0.1:{ports['gateway']}", operator_key, data.path)
        for name in (*roles, "gateway"):
            log, command = directory / f"{name}.log", str(BIN / f"undercroft-{name}")
            if name in roles:
                platform.database_urls[name] = server.role_url(name, "")
                platform.secret_keys[name] = environments[name][f"{name.upper()}_SECRET_KEY"]
                migrated = subprocess.run(
                    [command, "migrate"],
                    env={**os.environ, **environments[name]},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert migrated.returncode == 0, migrated.stderr
            process = stack.enter_context(
                running([command, "serve"], log=log, environment=environments[name])
            )
            platform.processes[name] = process
            wait_until_ready(f"http://127.0.0.1:{ports[name]}", process, log)
        yield platform


def _environments(
    ports: dict[str, int], operator_key: str, database_urls: dict[str, str]
) -> dict[str, dict[str, str]]:
    keys = generate_principal_keys(SecretStr(secrets.token_urlsafe(32)), tuple(ports))
    environments = {}
    for name, port in ports.items():
        prefix = name.upper()
        environments[name] = {
            f"{prefix}_PORT": str(port),
            f"{prefix}_SECRET_KEY": secrets.token_urlsafe(32),
            f"{prefix}_PRINCIPAL_KEYS": json.dumps(keys[name]),
            f"{prefix}_LOG_FORMAT": "json",
        }
        if name in database_urls:
            environments[name][f"{prefix}_DATABASE_URL"] = database_urls[name]
    environments["identity"]["IDENTITY_OPERATOR_KEY"] = operator_key
    for name in ("identity", "gateway"):
        environments[name][f"{name.upper()}_ISSUER"] = f"http://127.0.0.1:{ports['gateway']}"
    environments["gateway"].update(
        {f"GATEWAY_{name.upper()}_URL": f"http://127.0.0.1:{ports[name]}" for name in ("identity", "flags")}
    )
    return environments
