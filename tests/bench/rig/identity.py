"""identity alone in its process, with a PostgreSQL on the other core, and what is to be asked of it."""

import asyncio
import contextlib
import email
import email.policy
import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr
from tests.bench.rig.processes import SERVER_CORE, Server, free_port, serving

from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.database import provision
from undercroft.launcher.database_servers import EmbeddedServer
from undercroft.shared.auth import (
    PRINCIPAL_HEADER,
    Principal,
    PrincipalKeys,
    PrincipalSigner,
    Scope,
    generate_principal_keys,
)

EMAIL: Final = "ada@example.com"
PASSWORD: Final = "a quiet vault of stone"
_LINK: Final = re.compile(r"token=([\w-]{43})")
_MAIL_SECONDS: Final = 20

Json = dict[str, Any]  # whatever JSON has


class Identity:
    """A running identity and a client of it that speaks for whomever it likes, as the gateway does."""

    def __init__(self, server: Server, keys: dict[str, str], mails: Path) -> None:
        self.server = server
        self._signer = PrincipalSigner(
            "gateway", PrincipalKeys({pair: SecretStr(key) for pair, key in keys.items()})
        )
        self._mails = mails
        self._http = httpx.Client(base_url=server.url, timeout=30)

    def headers(self, principal: Principal) -> dict[str, str]:
        """Return what shows a principal, for a minute."""
        return {PRINCIPAL_HEADER: self._signer.header_for(principal, "identity")}

    def as_operator(self, path: str, body: Json) -> Json:
        """Create something as the operator."""
        operator = Principal("key_01h455vb4pex5vsknk084sn02q", "operator", scopes=frozenset({Scope.OPERATOR}))
        return self._post(path, body, headers=self.headers(operator))

    def make_person(self, address: str = EMAIL) -> Principal:
        """Register somebody, follow the link in the mail and return who they are to identity."""
        self._post("/v1/users", {"email": address, "password": PASSWORD, "name": "Ada Lovelace"})
        verified = self._http.put(f"/v1/email-verifications/{self._token_for(address)}")
        verified.raise_for_status()
        return Principal(verified.json()["id"], "user", scopes=frozenset({Scope.ACCOUNT}))

    def get(self, path: str) -> Json:
        """Read something that is open to everybody."""
        answer = self._http.get(path)
        answer.raise_for_status()
        told: Json = answer.json()
        return told

    def sign_in(self, address: str = EMAIL) -> Json:
        """Sign somebody in."""
        return self._post("/v1/sessions", {"email": address, "password": PASSWORD})

    def _post(self, path: str, body: Json, headers: dict[str, str] | None = None) -> Json:
        answer = self._http.post(path, json=body, headers=headers)
        self._http.cookies.clear()
        if answer.is_error:
            raise SystemExit(f"{path}: {answer.text}")
        told: Json = answer.json()
        return told

    def _token_for(self, address: str) -> str:
        deadline = time.monotonic() + _MAIL_SECONDS
        while time.monotonic() < deadline:
            for mail in self._mails.glob("*.eml"):
                message = email.message_from_bytes(mail.read_bytes(), policy=email.policy.default)
                body = message.get_body(("plain",)) if message["To"] == address else None
                found = _LINK.search(str(body.get_content())) if body is not None else None
                if found is not None:
                    return found[1]
            time.sleep(0.05)
        raise SystemExit(f"no mail came for {address}")


@contextlib.contextmanager
def running_identity(
    directory: Path, *, module: str = "undercroft.identity.main", cores: Sequence[int] = (SERVER_CORE,)
) -> Iterator[Identity]:
    """Run identity on a database of its own; `module` is the one whose `main` is its command."""
    data = DataDirectory(directory / "data")
    data.path.mkdir(mode=0o700)
    database = EmbeddedServer(data)
    database.start()
    try:
        database.wait_ready()
        asyncio.run(provision(database, {"identity": ""}))
        port, mails = free_port(), directory / "mails"
        keys = generate_principal_keys(SecretStr(secrets.token_urlsafe(32)), ("gateway", "identity"))
        environment = {
            "IDENTITY_PORT": str(port),
            "IDENTITY_ISSUER": f"http://127.0.0.1:{port}",
            "IDENTITY_DATABASE_URL": database.role_url("identity", ""),
            "IDENTITY_SECRET_KEY": secrets.token_urlsafe(32),
            "IDENTITY_PRINCIPAL_KEYS": json.dumps(keys["identity"]),
            "IDENTITY_LOG_FORMAT": "json",
            "IDENTITY_MAIL_DIRECTORY": str(mails),
            "IDENTITY_ACCESS_LOG": "false",
            "IDENTITY_FREE_ATTEMPTS_PER_ADDRESS": "100000",
            "IDENTITY_HASHING_WAIT_SECONDS": "60",
        }
        command = [sys.executable, "-c", f"from {module} import main; main()"]
        subprocess.run([*command, "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)
        log = directory / "identity.log"
        with serving([*command, "serve"], port=port, log=log, environment=environment, cores=cores) as server:
            yield Identity(server, keys["gateway"], mails)
    finally:
        database.stop()
