"""The flags service as it runs in production: its own command, one process, on one core, with an embedded PostgreSQL."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from tests.bench.rig.processes import SERVER_CORE, Server, free_port, serving

from undercroft.shared.auth import (
    PRINCIPAL_HEADER,
    Principal,
    PrincipalKeys,
    PrincipalSigner,
    generate_principal_keys,
)
from undercroft.shared.postgres_server import PostgresServer

COMMAND: Final = Path(sys.executable).with_name("undercroft-flags")
_KEYS: Final = generate_principal_keys(
    SecretStr("only-for-benchmarks-" + "0" * 32), ("gateway", "identity", "flags")
)
_SIGNER: Final = PrincipalSigner(
    "gateway", PrincipalKeys({pair: SecretStr(key) for pair, key in _KEYS["gateway"].items()})
)
_CUSTOMER: Final = Principal(
    subject="key_01h455vb4pex5vsknk084sn02q",
    kind="api_key",
    organization_id=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    scopes=frozenset({"flags:evaluate"}),
    environment="production",
    plan="team",
)
_OPERATOR: Final = Principal(
    subject="key_01h455vb4pex5vsknk084sn02r", kind="operator", scopes=frozenset({"operator"})
)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a migrated PostgreSQL and yield its address, as the service's settings want it."""
    with tempfile.TemporaryDirectory() as directory, _server(Path(directory)) as server:
        server.wait_ready()
        url = make_url(server.url("postgres", "postgres")).set(drivername="postgresql")
        address = url.render_as_string(hide_password=False)
        subprocess.run([COMMAND, "migrate"], env=_environment(address, 1), check=True, capture_output=True)
        yield address


def _server(directory: Path) -> PostgresServer:
    return PostgresServer(directory / "postgres", durable=False)


@contextlib.contextmanager
def service(database_url: str, *, access_log: bool = True, core: int = SERVER_CORE) -> Iterator[Server]:
    """Run one replica on one core; its log goes nowhere."""
    port = free_port()
    environment = {**_environment(database_url, port), "FLAGS_ACCESS_LOG": str(access_log)}
    command = [str(COMMAND), "serve"]
    with serving(command, port=port, log=Path(os.devnull), environment=environment, cores=(core,)) as server:
        yield server


def operators_client(server: Server) -> httpx.Client:
    """Return a client of a replica that speaks for the operator."""
    return httpx.Client(base_url=server.url, headers=operator_headers(), timeout=60)


def caller_headers() -> Mapping[str, str]:
    """Return the headers with which the gateway forwards a customer's evaluation; they hold for a minute."""
    return {
        PRINCIPAL_HEADER: _SIGNER.header_for(_CUSTOMER, "flags"),
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "bench",
        "Request-Id": "req_01h455vb4pex5vsknk084sn02q",
        "Request-Timeout-Ms": "30000",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    }


def operator_headers() -> Mapping[str, str]:
    """Return the operator's headers."""
    return {PRINCIPAL_HEADER: _SIGNER.header_for(_OPERATOR, "flags")}


def _environment(database_url: str, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "FLAGS_DATABASE_URL": database_url,
        "FLAGS_PORT": str(port),
        "FLAGS_SECRET_KEY": "only-for-benchmarks-" + "0" * 32,
        "FLAGS_PRINCIPAL_KEYS": json.dumps(_KEYS["flags"]),
        "FLAGS_LOG_FORMAT": "json",
    }
