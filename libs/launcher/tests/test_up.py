"""The platform as its user meets it: `undercroft up` as a process of its own."""

import asyncio
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import httpx
import pytest
from sqlalchemy.engine import make_url

from undercroft.launcher import data_directory
from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.database_servers import EmbeddedServer

pytestmark = pytest.mark.slow

START_SECONDS = 60.0  # generous, because a loaded machine is no defect; the budgets are measured elsewhere
# One that a stop cut is ended by the kernel, just after its parent.
INITDB_ENDS_SECONDS = 5.0
FLAGS = {
    "flags": {
        "welcome": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "on", "off"]},
        }
    }
}


# Whole processes are measured too, but neither a copy of the code nor another user can write the measurements.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "undercroft.launcher", *arguments]


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    given = {**os.environ, **environment}
    return subprocess.run(
        command(*arguments), env=given, capture_output=True, text=True, timeout=START_SECONDS, check=False
    )


class Up:
    """One running `undercroft up` on a free port, stopped at the end."""

    def __init__(self, directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.directory = directory
        self._files = tempfile.TemporaryDirectory(prefix="uc-up-log-")
        self._output = Path(self._files.name, "stdout")
        self._errors = Path(self._files.name, "stderr")
        with self._output.open("ab") as output, self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                command("up", "--port=0", f"--data-dir={directory}", *arguments),
                env={**os.environ, **(environment or {})},
                stdout=output,
                stderr=errors,
            )

    @property
    def screen(self) -> str:
        return self._errors.read_text()

    @property
    def log(self) -> str:
        return self._output.read_text()

    @property
    def url(self) -> str:
        found = re.search(r"^Gateway: (.*)$", self.screen, re.MULTILINE)
        assert found, self.screen
        return found[1]

    @property
    def curl(self) -> str:
        return next(line for line in self.screen.splitlines() if line.startswith("curl "))

    @property
    def key(self) -> str:
        return (self.directory / "operator.key").read_text().strip()

    def client(self, key: str | None = None) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {key or self.key}"}, timeout=30
        )

    def wait_ready(self) -> Self:
        wait_until(lambda: "\ncurl " in self.screen or self.process.poll() is not None)
        assert self.process.poll() is None, self.screen + self.log
        assert httpx.get(f"{self.url}/healthz", timeout=30).status_code == 200
        return self

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, float]:
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(START_SECONDS), time.monotonic() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        self._files.cleanup()


def wait_until(condition: Callable[[], bool], timeout_seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def processes_of(directory: Path) -> list[str]:
    """List the command lines of all live processes that name the directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found


@contextmanager
def embedded_database(directory: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(DataDirectory(directory))
    server.start_or_join()
    try:
        yield server
    finally:
        server.stop()


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A data directory that was started once and holds one flag."""
    with tempfile.TemporaryDirectory(prefix="uc-up-") as name:
        Path(name).chmod(0o755)
        path = Path(name) / "data"
        with Up(path) as up, up.wait_ready().client() as client:
            assert up.key in up.screen, "the first run shows the key"
            client.put("/v1/environments/development/flagd", json=FLAGS).raise_for_status()
        yield path


def evaluation_key(client: httpx.Client) -> str:
    made = client.post(
        "/v1/api-keys",
        json={"name": "app", "scopes": ["flags:evaluate"], "environment": "development"},
    )
    made.raise_for_status()
    secret: str = made.json()["secret"]
    return secret


def test_the_first_start_makes_a_platform_that_works(tmp_path: Path):
    data = tmp_path / "made" / "data"
    with Up(data) as up:
        with up.wait_ready().client() as client:
            client.put("/v1/environments/development/flagd", json=FLAGS).raise_for_status()
            key = evaluation_key(client)
        with up.client(key) as client:
            answer = client.post("/ofrep/v1/evaluate/flags/welcome", json={"context": {"plan": "pro"}})
        status, seconds = up.stop()
        screen = up.screen

    assert (answer.status_code, answer.json()["value"]) == (200, True)
    assert "Creating the database" in screen
    assert "Migrating flags" in screen
    assert stat.S_IMODE((data / "operator.key").stat().st_mode) == 0o600
    assert (status, processes_of(data)) == (0, [])
    assert seconds < 3


def test_later_starts_keep_data_and_the_secret_of_the_key(directory: Path):
    with Up(directory) as up:
        with up.wait_ready().client() as client:
            flags = client.get("/v1/environments/development/flagd").json()["flags"]
        key, screen = up.key, up.screen

    assert "welcome" in flags
    assert key not in screen
    assert f"Operator key: in {directory}/operator.key" in screen
    assert "Migrating" not in screen


def test_the_command_on_the_screen_works_when_pasted(directory: Path, tmp_path: Path):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    with Up(directory) as up:
        pasted = up.wait_ready().curl + " -w '\\n%{http_code}'"
        done = subprocess.run(["sh", "-c", pasted], capture_output=True, text=True, cwd=tmp_path, check=True)

    assert done.stdout.endswith("\n200")
    assert '"welcome"' in done.stdout


def test_everything_on_the_screen_answers_and_only_the_gateway_logs_requests(directory: Path):
    with Up(directory, "--log-format=json") as up:
        with up.wait_ready().client() as client:
            answers = [client.get(path).status_code for path in ("/docs", "/v1/status", "/openapi.json")]
            client.get("/v1/environments").raise_for_status()
        up.stop()
        lines = up.log.splitlines()

    assert answers == [200, 200, 200]
    assert all(line.startswith("{") and line.endswith("}") for line in lines)
    assert sum('"/v1/environments' in line and '"event":"request"' in line for line in lines) == 1


def test_a_second_up_on_the_same_directory_says_so(directory: Path):
    with Up(directory) as up:
        up.wait_ready()
        second = run("up", "--port=0", f"--data-dir={directory}")

    assert second.returncode == 1
    assert second.stderr == (
        f"undercroft: undercroft already runs on {directory} (process {up.process.pid}): "
        "stop that one, or choose another directory with --data-dir\n"
    )


def test_the_database_commands_join_a_running_platform(directory: Path):
    with Up(directory) as up:
        up.wait_ready()
        done = run("db", "upgrade", f"--data-dir={directory}")
        assert httpx.get(f"{up.url}/v1/status").json()["status"] == "pass"

    assert done.stdout == "identity: already up to date\nflags: already up to date\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_long_answer_does_not_hold_up_a_clean_stop(directory: Path, number: signal.Signals):
    with Up(directory) as up:
        port = int(up.wait_ready().url.rpartition(":")[2])

        async def send_half_a_request() -> float:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"PUT /v1/environments/development/flagd HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {up.key}\r\n"
            writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
            await writer.drain()
            await asyncio.sleep(0.3)
            status, seconds = await asyncio.to_thread(up.stop, number)
            assert status == 0, up.screen + up.log
            writer.close()
            return seconds

        seconds = asyncio.run(send_half_a_request())
        trace = "Traceback" in up.log + up.screen

    assert seconds < 3
    assert not trace
    assert processes_of(directory) == []


def test_after_kill_9_the_next_up_has_all_data(directory: Path):
    with Up(directory) as up:
        with up.wait_ready().client() as client:
            key = evaluation_key(client)
        up.process.kill()
        up.process.wait()
    with Up(directory) as up, up.wait_ready().client(key) as client:
        answer = client.post("/ofrep/v1/evaluate/flags/welcome", json={"context": {}})

    assert (answer.status_code, answer.json()["value"]) == (200, False)


def test_a_database_that_dies_is_started_again(directory: Path):
    with Up(directory) as up, up.wait_ready().client() as client:
        postmaster = int((directory / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)

        wait_until(lambda: '"event":"database_ended"' in up.log)
        wait_until(lambda: client.get("/v1/environments").status_code == 200)


@pytest.mark.parametrize("delay_seconds", [0.0, 0.5, 1.2])
def test_a_stop_while_starting_leaves_nothing(directory: Path, delay_seconds: float):
    with Up(directory) as up:
        wait_until(lambda: (directory / "up.lock").read_text() == f"{up.process.pid}\n")
        time.sleep(delay_seconds)
        status, seconds = up.stop()
        screen = up.screen

    assert "Traceback" not in screen
    assert status == 0, screen
    assert seconds < 3
    wait_until(lambda: processes_of(directory) == [], INITDB_ENDS_SECONDS)


def test_a_lost_operator_key_is_replaced(directory: Path):
    (directory / "operator.key").unlink()

    with Up(directory) as up, up.wait_ready().client() as client:
        assert up.key in up.screen
        assert client.get("/v1/environments").status_code == 200


def test_a_schema_newer_than_the_code_is_refused(directory: Path):
    with embedded_database(directory) as server:
        dsn = server.dsn()
        asyncio.run(execute(dsn, "INSERT INTO flags.alembic_version VALUES ('from_the_future')"))
        asyncio.run(execute(dsn, "DELETE FROM flags.alembic_version WHERE version_num <> 'from_the_future'"))
    try:
        refused = run("up", "--port=0", f"--data-dir={directory}")
    finally:
        with embedded_database(directory) as server:
            asyncio.run(execute(server.dsn(), "DROP SCHEMA flags CASCADE"))

    assert refused.returncode == 1
    assert refused.stderr.startswith(
        "undercroft: schema flags stands at revision from_the_future, which this version"
    )
    assert refused.stderr.count("\n") == 1


def is_one_line(done: "subprocess.CompletedProcess[str]", words: str) -> bool:
    return done.returncode == 1 and done.stderr.count("\n") == 1 and words in done.stderr


def test_a_taken_port_is_refused_before_the_database_is_started(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("up", f"--port={port}", f"--data-dir={tmp_path}/data")

    assert is_one_line(refused, f"port {port} of 127.0.0.1 is taken")
    assert not (tmp_path / "data" / "postgres").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--host=no.such.host.invalid"], {}, "is not an address of this machine"),
        (["--data-dir=/dev/null/data"], {}, "cannot use /dev/null/data: Not a directory"),
        (
            ["--database-url=postgresql://admin:secret@127.0.0.1:1/x"],
            {},
            "cannot connect to the database x at 127.0.0.1:1 (",
        ),
        (["--database-url=sqlite:///x"], {}, "--database-url is not of the form"),
        ([], {"FLAGS_DATABASE_POOL_SIZE": "many"}, "invalid setting: FLAGS_DATABASE_POOL_SIZE"),
        ([], {"GATEWAY_PORT": "many"}, "invalid setting: GATEWAY_PORT"),
    ],
)
def test_what_cannot_work_is_one_line(
    arguments: list[str], environment: dict[str, str], words: str, tmp_path: Path
):
    port = [] if "GATEWAY_PORT" in environment else ["--port=0"]

    refused = run("up", *port, f"--data-dir={tmp_path}", *arguments, **environment)

    assert is_one_line(refused, words), refused.stderr
    assert "secret" not in refused.stderr
    wait_until(lambda: processes_of(tmp_path) == [], INITDB_ENDS_SECONDS)


def test_a_directory_of_another_user_is_refused(tmp_path: Path):
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be another user")
    tmp_path.chmod(0o700)
    arguments = [
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        # Reading is allowed, or a Python below root's home could not even start.
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
        *command("up", f"--data-dir={tmp_path}/x"),
    ]

    done = subprocess.run(
        arguments,
        env={**os.environ, **UNMEASURED},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )

    assert is_one_line(done, "Permission denied"), done.stderr


async def test_a_server_of_ones_own_is_used(tmp_path: Path, create_database: Callable[[], Awaitable[str]]):
    url = make_url(await create_database()).set(drivername="postgresql").render_as_string(hide_password=False)

    def journey() -> int:
        with Up(tmp_path / "data", f"--database-url={url}") as up, up.wait_ready().client() as client:
            return client.get("/v1/environments").status_code

    assert await asyncio.to_thread(journey) == 200
    assert not (tmp_path / "data" / "postgres").exists()
    assert await asyncio.to_thread(journey) == 200


def test_reload_survives_a_syntax_error_and_serves_the_corrected_code(directory: Path, tmp_path: Path):
    # A copy of the launcher is a checkout of its own: nobody else's code is touched.
    original = Path(data_directory.__file__).parent
    source = tmp_path / "libs/launcher/src"
    shutil.copytree(original, source / "undercroft/launcher")
    (tmp_path / "uv.lock").touch()
    code = source / "undercroft/launcher/screen.py"
    correct = code.read_text()
    paths = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))

    with Up(directory, "--reload", environment={**UNMEASURED, "PYTHONPATH": paths}) as up:
        up.wait_ready()
        code.write_text("def broken(:\n")
        wait_until(lambda: "SyntaxError" in up.screen)
        assert up.process.poll() is None
        code.write_text(correct.replace(" is ready after", " is ready again after"))
        wait_until(lambda: "Undercroft is ready again" in up.screen)
        assert httpx.get(f"{up.url}/healthz", timeout=30).status_code == 200
        status, seconds = up.stop()

    assert status == 0
    assert seconds < 3
    assert processes_of(directory) == []


def test_when_the_watching_parent_is_killed_its_child_stops(directory: Path, tmp_path: Path):
    with Up(directory, "--reload") as up:
        up.wait_ready()
        up.process.kill()
        up.process.wait()
        wait_until(lambda: processes_of(directory) == [], 5)


def test_openapi_is_printed_without_starting_anything(tmp_path: Path):
    done = run("openapi", UNDERCROFT_DATA_DIR=str(tmp_path / "data"))

    assert done.returncode == 0, done.stderr
    assert '"/v1/environments"' in done.stdout
    assert '"/ofrep/v1/evaluate/flags"' in done.stdout
    assert "/internal/" not in done.stdout
    assert list(tmp_path.iterdir()) == []
