"""What the containers are: small, hardened, apart from each other, and telling what they do."""

import json
import re
import uuid

import httpx
import pytest

from .containers import CHECKOUT, CONTAINERS, DEPLOYABLES, Stack, docker, run

pytestmark = pytest.mark.docker

PORTS = {"postgres": 5432, "redis": 6379, **dict.fromkeys(DEPLOYABLES, 8000)}

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"


def can_connect(stack: Stack, service: str, host: str, port: int) -> bool:
    command = ["docker", "exec", stack.container(service), "python", "-c", CONNECT, host, str(port)]
    return run(command, is_checked=False).returncode == 0


@pytest.mark.parametrize("service", CONTAINERS)
def test_no_container_runs_as_root(stack: Stack, service: str) -> None:
    users = set(docker("top", stack.container(service), "-eo", "uid,pid").splitlines()[1:])
    assert users
    assert not any(line.split()[0] == "0" for line in users)


@pytest.mark.parametrize("service", CONTAINERS)
def test_a_container_can_change_nothing_and_may_do_nothing(stack: Stack, service: str) -> None:
    host = stack.inspect(service, ".HostConfig")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"


def test_only_the_gateway_is_published_and_only_here(stack: Stack) -> None:
    published = {
        service: [
            each["HostIp"]
            for ports in stack.inspect(service, ".NetworkSettings.Ports").values()
            if ports
            for each in ports
        ]
        for service in CONTAINERS
    }
    assert published == {**{service: [] for service in CONTAINERS}, "gateway": ["127.0.0.1"]}


REACHED = {
    "gateway": {"redis", "identity", "flags"},
    "identity": {"postgres", "redis", "flags", "gateway"},
    "flags": {"postgres", "identity", "gateway"},
}


@pytest.mark.parametrize("service", DEPLOYABLES)
def test_networks_keep_away_what_is_not_needed(stack: Stack, service: str) -> None:
    others = [each for each in CONTAINERS if each != service]
    assert {each for each in others if can_connect(stack, service, each, PORTS[each])} == REACHED[service]


def has_way_out(stack: Stack, service: str) -> bool:
    """Tell whether a container is on a network from which the engine lets anything out."""
    networks = stack.inspect(service, ".NetworkSettings.Networks")
    return any(
        docker("network", "inspect", "--format", "{{.Internal}}", each) == "false" for each in networks
    )


def test_only_the_gateway_and_the_sender_of_mail_have_a_way_out(stack: Stack) -> None:
    assert [service for service in CONTAINERS if has_way_out(stack, service)] == ["identity", "gateway"]


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("flags", "SELECT * FROM identity.api_keys"),
        ("identity", "SELECT * FROM flags.flags"),
        ("flags", "CREATE TABLE identity.planted (id int)"),
        ("flags", "CREATE TABLE public.planted (id int)"),
        ("identity", "DROP SCHEMA flags CASCADE"),
        ("identity", "CREATE ROLE planted SUPERUSER"),
        ("identity", "CREATE DATABASE planted"),
    ],
)
def test_a_role_cannot_reach_another_services_schema(stack: Stack, role: str, statement: str) -> None:
    refused = stack.psql(statement, role=role)
    assert refused.returncode == 1
    assert "permission denied" in refused.stderr or "must be owner" in refused.stderr, refused.stderr


def test_a_role_reads_its_own_schema(stack: Stack) -> None:
    assert "production" in stack.psql("SELECT key FROM flags.environments", role="flags").stdout


def test_a_wrong_password_is_refused(stack: Stack) -> None:
    url = (stack.secrets / "flags_database_url").read_text()
    code = "import asyncio, asyncpg, sys; asyncio.run(asyncpg.connect(sys.argv[1]))"
    wrong = re.sub(r":[^:@/]+@", ":wrong@", url.strip())
    tried = docker("exec", stack.container("flags"), "python", "-c", code, wrong, is_checked=False)
    assert tried == ""
    assert "password authentication failed" in "".join(stack.logs("postgres"))


def test_every_log_line_is_json_and_one_request_id_runs_through_all_services(stack: Stack) -> None:
    key = stack.platform.create_key(scopes=["flags:evaluate", "flags:read"], environment="production")
    request_id = f"test-{uuid.uuid4()}"
    headers = {"Authorization": f"Bearer {key}", "Request-Id": request_id}
    answer = httpx.get(f"{stack.platform.url}/v1/flags", headers=headers, timeout=10)
    assert answer.headers["Request-Id"] == request_id

    def services_with_it() -> set[str]:
        lines = [json.loads(line) for service in DEPLOYABLES for line in stack.logs(service)]
        return {line["service"] for line in lines if line.get("request_id") == request_id}

    stack.wait_until(lambda: services_with_it() == set(DEPLOYABLES), "the request id is in every log", 5)


def test_secrets_are_in_no_log_and_in_no_environment(stack: Stack) -> None:
    files = (path for path in stack.secrets.iterdir() if path.is_file() and path.name != "redis_conf")
    values = {path.read_text().strip() for path in files}
    passwords = {url.partition("@")[0].rpartition(":")[2] for url in values if "://" in url}
    for service in CONTAINERS:
        seen = json.dumps(stack.inspect(service, ".")) + "".join(stack.logs(service))
        assert not [secret for secret in values | passwords if secret in seen]


def memory_mib(stack: Stack, service: str) -> float:
    used = (
        docker("stats", "--no-stream", "--format", "{{.MemUsage}}", stack.container(service))
        .split("/")[0]
        .strip()
    )
    number, unit = re.fullmatch(r"([\d.]+)(KiB|MiB|GiB)", used).groups()  # type: ignore[union-attr]  # or it fails
    return float(number) * {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[unit]


def test_idle_memory_is_what_the_readme_says(stack: Stack) -> None:
    table = dict(re.findall(r"^\| (\w+) \| (\d+) MB \|", (CHECKOUT / "README.md").read_text(), re.MULTILINE))
    assert set(table) == set(CONTAINERS)
    measured = {service: memory_mib(stack, service) for service in CONTAINERS}
    # Idle by now, but after other tests' work: memory that a process once had it mostly keeps.
    assert {name: mib for name, mib in measured.items() if mib > 1.5 * float(table[name])} == {}
