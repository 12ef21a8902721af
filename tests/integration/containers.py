"""docker-compose.yml brought up once for the session: the images, the stack, and what is done to its containers."""

import functools
import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from undercroft.launcher.deployment_secrets import make_secrets

from .platforms import Platform, free_port

CHECKOUT: Final = Path(__file__).parents[2]
SERVICES: Final = ("identity", "flags")
DEPLOYABLES: Final = (*SERVICES, "gateway")
CONTAINERS: Final = ("postgres", "redis", *DEPLOYABLES)
PUBLIC_IMAGES: Final = {
    "PYTHON_IMAGE": "python:3.13-slim",
    "POSTGRES_IMAGE": "postgres:18",
    "REDIS_IMAGE": "redis:8",
}
AIRGAP_IMAGES: Final = {
    "PYTHON_IMAGE": "undercroft-airgap/python",
    "BUILD_IMAGE": "undercroft-airgap/python-build",
    "POSTGRES_IMAGE": "undercroft-airgap/postgres",
    "REDIS_IMAGE": "undercroft-airgap/redis",
}
CLASSIC_BUILDER: Final = {"DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}

BUILD_TIMEOUT_SECONDS: Final = 900
_PULL_TIMEOUT_SECONDS: Final = 120
_PRINT_MAILS: Final = (
    "import json, pathlib; "
    "print(json.dumps({each.name: each.read_text() for each in pathlib.Path('/tmp/mail').glob('*.eml')}))"
)
_COMMAND_TIMEOUT_SECONDS: Final = 120


def run(
    command: list[str],
    *,
    environment: dict[str, str] | None = None,
    timeout: float = _COMMAND_TIMEOUT_SECONDS,
    is_checked: bool = True,
    text: str | None = None,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, **(environment or {})},
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if is_checked:
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2_000:]}\n{done.stderr[-4_000:]}"
    return done


def crowd() -> float:
    """Return how many times slower others make this machine: what is promised, is for two cores of one's own."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def docker(*arguments: str, is_checked: bool = True, timeout: float = _COMMAND_TIMEOUT_SECONDS) -> str:
    return run(["docker", *arguments], is_checked=is_checked, timeout=timeout).stdout.strip()


@functools.cache
def compose_command() -> tuple[str, ...] | None:
    """Return compose 1.29 where it is installed, because it is the stricter reader, or else the plugin."""
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    has_plugin = (
        shutil.which("docker") and run(["docker", "compose", "version"], is_checked=False).returncode == 0
    )
    return ("docker", "compose") if has_plugin else None


@functools.cache
def missing() -> str | None:
    """Return the reason why containers cannot be tested here, None when they can."""
    if not shutil.which("docker"):
        return "docker is not installed"
    if run(["docker", "version", "--format", "{{.Server.Version}}"], is_checked=False).returncode != 0:
        return "no Docker engine answers"
    if compose_command() is None:
        return "neither docker-compose nor docker compose is installed"
    return None


def require_docker() -> None:
    reason = missing()
    if reason:
        pytest.skip(reason)


@functools.cache
def base_images() -> dict[str, str]:
    """Return the variables that name the base images: public ones, or, where none can be pulled, our own."""
    given = {name: os.environ[name] for name in AIRGAP_IMAGES if name in os.environ}
    if given:
        return given
    if all(_is_here(image) or _can_pull(image) for image in PUBLIC_IMAGES.values()):
        return PUBLIC_IMAGES
    if not all(map(_is_here, AIRGAP_IMAGES.values())):
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            pytest.skip("no image can be pulled, and building one needs root and debootstrap")
        run(["deploy/airgap/build.sh"], timeout=BUILD_TIMEOUT_SECONDS)
    return AIRGAP_IMAGES


def _is_here(image: str) -> bool:
    return run(["docker", "image", "inspect", image], is_checked=False).returncode == 0


def _can_pull(image: str) -> bool:
    with suppress(subprocess.TimeoutExpired):
        pull = run(["docker", "pull", "--quiet", image], is_checked=False, timeout=_PULL_TIMEOUT_SECONDS)
        return pull.returncode == 0
    return False


@dataclass
class Stack:
    """One project of docker-compose.yml, with secrets and ports of its own."""

    project: str
    environment: dict[str, str]
    secrets: Path
    files: tuple[str, ...] = ("docker-compose.yml",)
    _platform: list[Platform] = field(default_factory=list)

    def compose(
        self, *arguments: str, is_checked: bool = True, timeout: float = _COMMAND_TIMEOUT_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        command = [*(compose_command() or ()), "--project-name", self.project]
        for file in self.files:
            command += ["--file", file]
        return run(
            [*command, *arguments], environment=self.environment, is_checked=is_checked, timeout=timeout
        )

    @property
    def platform(self) -> Platform:
        """The platform through the published port."""
        if not self._platform:
            key = (self.secrets / "operator_key").read_text().strip()
            url = f"http://127.0.0.1:{self.published_port()}"
            self._platform.append(Platform(url, key, self.secrets, fetch_mails=self.copy_mails))
        return self._platform[0]

    def copy_mails(self, directory: Path) -> None:
        """Copy the mails of identity's container, whose /tmp is memory that `docker cp` does not see."""
        mails = json.loads(docker("exec", self.container("identity"), "python", "-c", _PRINT_MAILS))
        directory.mkdir(exist_ok=True)
        for name, text in mails.items():
            (directory / name).write_text(text)

    def published_port(self) -> int:
        return int(self.compose("port", "gateway", "8000").stdout.rpartition(":")[2])

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, the oldest first."""
        return self.compose("ps", "-q", service).stdout.split()

    def container(self, service: str) -> str:
        return self.containers(service)[0]

    def inspect(self, service: str, template: str) -> Any:  # whatever the engine says, as JSON
        return json.loads(docker("inspect", "--format", f"{{{{json {template}}}}}", self.container(service)))

    def address(self, container: str, network: str) -> str:
        """Return a container's address on one of the project's networks: Linux routes to it from the host."""
        networks = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", container))
        return str(networks[f"{self.project}_{network}"]["IPAddress"])

    def health(self, service: str) -> str:
        return str(self.inspect(service, ".State.Health.Status"))

    def wait_healthy(self, *services: str, seconds: float = 60) -> None:
        for service in services or CONTAINERS:
            is_healthy = functools.partial(lambda name: self.health(name) == "healthy", service)
            self.wait_until(is_healthy, f"{service} is healthy", seconds)

    def wait_until(self, holds: Callable[[], bool], what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with suppress(httpx.TransportError, AssertionError, IndexError):
                if holds():
                    return
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {seconds} s: {what}\n{self.tail()}")
            time.sleep(0.1)

    def tail(self) -> str:
        return self.compose("logs", "--no-color", "--tail=15", is_checked=False).stdout[-8_000:]

    def logs(self, service: str) -> list[str]:
        done = [run(["docker", "logs", each], is_checked=True) for each in self.containers(service)]
        return [line for each in done for line in (each.stdout + each.stderr).splitlines() if line]

    def kill_process(self, service: str) -> None:
        """Kill a container's first process as the kernel would; `docker kill` would count as a wish to stop it."""
        pid = str(self.inspect(service, ".State.Pid"))
        if os.geteuid() == 0 and Path("/proc", pid).exists():
            os.kill(int(pid), 9)
        else:
            image = self.environment["POSTGRES_IMAGE"]
            shell = ["--rm", "--pid=host", "--privileged", "--user=root", "--entrypoint=sh", image]
            docker("run", *shell, "-c", f"kill -9 {pid}")

    def psql(self, statement: str, *, role: str = "postgres") -> subprocess.CompletedProcess[str]:
        """Run a statement as a role, with the password that its service has."""
        password = (
            (self.secrets / "postgres_password").read_text().strip()
            if role == "postgres"
            else (self.secrets / f"{role}_database_url").read_text().partition("@")[0].rpartition(":")[2]
        )
        psql = [
            "psql",
            "--no-psqlrc",
            "-qAt",
            "-h",
            "127.0.0.1",
            "-U",
            role,
            "-d",
            "undercroft",
            "-c",
            statement,
        ]
        command = ["docker", "exec", "--env", f"PGPASSWORD={password}", self.container("postgres"), *psql]
        return run(command, is_checked=False)

    @contextmanager
    def without(self, service: str, how: str = "stop") -> Iterator[None]:
        """Take one container away and bring it back."""
        container = self.container(service)
        undo = {"stop": "start", "pause": "unpause", "kill": "start"}[how]
        docker(how, container)
        try:
            yield
        finally:
            docker(undo, container)


@contextmanager
def project(directory: Path, name: str, *files: str) -> Iterator[Stack]:
    """Prepare a project, start nothing, and remove whatever it has at the end."""
    secrets = directory / "secrets"
    make_secrets(secrets)
    port = free_port()
    environment = {
        **CLASSIC_BUILDER,
        **PUBLIC_IMAGES,
        **base_images(),
        "UNDERCROFT_SECRETS": str(secrets),
        "UNDERCROFT_PORT": str(port),
        "UNDERCROFT_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "UNDERCROFT_TAG": "test",
    }
    stack = Stack(f"{name}{os.getpid()}", environment, secrets, files or ("docker-compose.yml",))
    try:
        yield stack
    finally:
        for platform in stack._platform:
            platform.operator.close()
        stack.compose("down", "--volumes", "--timeout=5", is_checked=False)


@contextmanager
def running_stack(directory: Path) -> Iterator[Stack]:
    """Build the images, start the stack and wait until all of it is ready."""
    with project(directory, "uctest") as stack:
        stack.compose("build", timeout=BUILD_TIMEOUT_SECONDS)
        stack.compose("up", "--detach", "--no-build")
        stack.wait_healthy()
        yield stack


class HalfSentRequest:
    """A request of which the last byte is kept back until `finish`: as slow as a test wants it to be."""

    def __init__(self, platform: Platform, method: str, path: str, body: bytes) -> None:
        host, _, port = platform.url.removeprefix("http://").partition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=20)
        self._rest = body[-1:]
        self._connection.putrequest(method, path)
        self._connection.putheader("Authorization", f"Bearer {platform.operator_key}")
        self._connection.putheader("Content-Type", "application/json")
        self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body[:-1])

    def finish(self) -> int:
        self._connection.send(self._rest)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._connection.close()
