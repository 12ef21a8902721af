"""The gateway beside nginx: requests per second through each, on the rig of the gateway's contract.

    uv run python tests/bench/gateway.py [--seconds 5] [--connections 32]

The door under test is pinned to one core; the service behind it (nginx) and the load (wrk) to the other. All rows
are of one run: compare rows, never runs. Needs nginx and wrk, and two cores.
"""

import argparse
import contextlib
import functools
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

KEY_HEADER = "X-API-Key: {key}"
BODY = '{"status":"ok"}' + " " * 100
PLAIN_ROUTE = """
[[routes]]
prefix = "/plain"
upstream = "flags"
auth = "public"
methods = ["GET"]
"""
NGINX = """
worker_processes 1; daemon off; pid {directory}/pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000;
  client_body_temp_path {directory}/a; proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c;
  uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
  {server} }}
"""
SERVICE = "server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{body}'; }} }}"
PROXY = """
  upstream service {{ server 127.0.0.1:{service}; keepalive 64; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
"""


def free_port() -> int:
    """Return a port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def nginx(server: str, *, port: int, core: int) -> Iterator[None]:
    """Run an nginx of one worker on one core."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        raise SystemExit("nginx is not installed")
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "nginx.conf"
        config.write_text(NGINX.format(directory=directory, server=server))
        command = ["taskset", "-c", str(core), binary, "-p", directory, "-c", str(config)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_for(port)
            yield
        finally:
            process.terminate()
            process.wait()


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
            return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens on {port}")


def serve_gateway(port: int, service: int, key: str, *, access_log: bool) -> None:
    """Serve the real gateway on the first core, with an identity that knows one key."""
    os.sched_setaffinity(0, {0})
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import uvicorn
    from pydantic import SecretStr
    from starlette.types import Receive, Scope, Send
    from typing_extensions import override

    from undercroft.gateway import main
    from undercroft.gateway.routes_table import load_routes
    from undercroft.gateway.settings import GatewaySettings
    from undercroft.shared.auth import generate_principal_keys
    from undercroft.shared.command import server_config
    from undercroft.shared.http_client import Exchange, InProcessTransport, Outgoing, make_transport
    from undercroft.shared.http_client.exchange import ExchangeBaseTransport
    from undercroft.shared.logs import configure_logging
    from undercroft.shared.serialization import dumps

    text = files("undercroft.gateway").joinpath("routes.toml").read_text()
    text = text.replace("requests = 60_000", "requests = 1_000_000_000") + PLAIN_ROUTE
    vars(main)["load_routes"] = functools.partial(load_routes, text=text)
    network = make_transport()
    known = {
        "keyId": "key_01h455vb4pex5vsknk084sn02q",
        "organizationId": "org_01h455vb4pex5vsknk084sn02q",
        "scopes": ["flags:evaluate"],
        "environment": None,
        "expiresAt": None,
        "kind": "api_key",
    }

    async def identity(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("/verify"):
            body = dumps(known)
        elif scope["path"].endswith("/jwks.json"):
            body = dumps({"keys": []})
        else:
            if b"after=tail" not in scope["query_string"]:
                await receive()
                await receive()
            body = dumps({"items": [], "nextCursor": "0"})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    inside = InProcessTransport({"identity": identity})

    class Mixed(ExchangeBaseTransport):
        @override
        async def open(self, request: Outgoing) -> Exchange:
            return await (inside if request.origin == "http://identity" else network).open(request)

    master = SecretStr("only-for-benchmarks-" + "0" * 32)
    keys = generate_principal_keys(master, ("gateway", "identity", "flags"))["gateway"]
    settings = GatewaySettings(
        secret_key=master,
        principal_keys=keys,
        identity_url="http://identity",
        flags_url=f"http://127.0.0.1:{service}",
        access_log=access_log,
        log_format="json",
    )
    configure_logging(log_format="json", log_level="info", service_name="gateway")
    app = main.create_app(settings, transport=Mixed())
    uvicorn.Server(server_config(app, host="127.0.0.1", port=port)).run()


@contextlib.contextmanager
def gateway(*, service: int, key: str, access_log: bool) -> Iterator[int]:
    """Run the gateway in a process of its own."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(
        target=serve_gateway, args=(port, service, key), kwargs={"access_log": access_log}
    )
    process.start()
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.join(10)


def load(url: str, *, seconds: float, connections: int, headers: tuple[str, ...] = ()) -> tuple[float, str]:
    """Return requests per second and the 99th percentile as wrk sees them; anything but success ends the run."""
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency"]
    for header in headers:
        command += ["-H", header]
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output:
        raise SystemExit(f"{url}: {output}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    slow = re.search(r"99%\s+(\S+)", output)
    if rate is None or slow is None:
        raise SystemExit(f"wrk said: {output}")
    return float(rate[1]), slow[1]


def rows(*, seconds: float, connections: int) -> Iterator[tuple[str, float, str]]:
    """Measure every door in turn."""
    from undercroft.shared.ids import new_uuid7
    from undercroft.shared.tokens import mint_token

    key = mint_token("live", new_uuid7()).text
    headers = (KEY_HEADER.format(key=key),)
    service, peer = free_port(), free_port()
    measure = functools.partial(load, seconds=seconds, connections=connections)
    with nginx(SERVICE.format(port=service, body=BODY), port=service, core=1):
        with nginx(PROXY.format(port=peer, service=service), port=peer, core=0):
            yield ("nginx, plain", *measure(f"http://127.0.0.1:{peer}/plain/x"))
        for name, access_log in (("without access log", False), ("with access log", True)):
            with gateway(service=service, key=key, access_log=access_log) as port:
                base = f"http://127.0.0.1:{port}"
                yield (f"gateway, plain, {name}", *measure(f"{base}/plain/x"))
                yield (
                    f"gateway, key + limit + metrics, {name}",
                    *measure(f"{base}/ofrep/v1/x", headers=headers),
                )


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=32)
    arguments = parser.parse_args()
    first = None
    for name, rate, slow in rows(seconds=arguments.seconds, connections=arguments.connections):
        first = first or rate
        print(f"{name:52} {rate:9,.0f}/s  {rate / first:5.2f} of nginx  p99 {slow}", flush=True)


if __name__ == "__main__":
    main()
