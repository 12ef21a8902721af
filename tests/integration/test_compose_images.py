"""What is in an image: one deployable, what it needs, and nothing that builds."""

import json

import pytest

from .containers import DEPLOYABLES, Stack, docker, run

pytestmark = pytest.mark.docker

PROMISED_MEGABYTES = 200


def image(name: str) -> str:
    return f"undercroft-{name}:test"


def in_image(name: str, *arguments: str, entrypoint: str = "python") -> tuple[int, str, str]:
    command = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        "--read-only",
        f"--entrypoint={entrypoint}",
        image(name),
    ]
    done = run([*command, *arguments], is_checked=False)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.mark.parametrize("name", DEPLOYABLES)
def test_an_image_holds_exactly_one_deployable(stack: Stack, name: str) -> None:
    code = (
        "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec('undercroft.' + n)])"
    )
    everything = [*DEPLOYABLES, "launcher", "shared"]
    assert in_image(name, "-c", code, *everything)[1] == str([name, "shared"])
    for other in set(DEPLOYABLES) - {name}:
        status, _, error = in_image(name, "-c", f"import undercroft.{other}.main")
        assert (status, error.splitlines()[-1]) == (
            1,
            f"ModuleNotFoundError: No module named 'undercroft.{other}'",
        )


@pytest.mark.parametrize("name", DEPLOYABLES)
def test_an_image_is_small(stack: Stack, name: str) -> None:
    base = int(docker("image", "inspect", "--format", "{{.Size}}", stack.environment["PYTHON_IMAGE"]))
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image(name)))
    assert (size - base) / 1e6 < PROMISED_MEGABYTES


@pytest.mark.parametrize("name", DEPLOYABLES)
def test_nothing_that_builds_is_left_in_an_image(stack: Stack, name: str) -> None:
    script = "find / -xdev \\( -name uv -o -name hatchling \\) -type f,d; find /opt/undercroft -name pip; ls -A /build"
    assert in_image(name, "-c", script, entrypoint="sh")[1] == ""
    history = docker("history", "--no-trunc", image(name))
    assert "INDEX" not in history


@pytest.mark.parametrize("name", DEPLOYABLES)
def test_an_image_is_compiled_and_runs_as_nobody(stack: Stack, name: str) -> None:
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image(name)))
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "healthcheck", "/healthz"]
    code = (
        f"import importlib.util as u, os; print(os.path.exists(u.find_spec('undercroft.{name}.main').cached))"
    )
    assert in_image(name, "-c", code)[1] == "True"


@pytest.mark.parametrize("name", DEPLOYABLES)
def test_a_missing_secret_ends_a_container_with_one_line(stack: Stack, name: str) -> None:
    status, _, error = in_image(name, "serve", entrypoint="start")
    assert status == 1
    assert error.startswith(f"undercroft-{name}: invalid setting: {name.upper()}_SECRET_KEY: field required")
    assert len(error.splitlines()) == 1


def test_an_unreadable_secret_ends_a_container_with_one_line(stack: Stack) -> None:
    given = ["--env=FLAGS_SECRET_KEY_FILE=/run/secrets/flags_secret_key", image("flags")]
    done = run(["docker", "run", "--rm", "--network=none", *given], is_checked=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "FLAGS_SECRET_KEY_FILE: cannot read /run/secrets/flags_secret_key" in done.stderr


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_an_unreachable_database_ends_a_container_with_one_line(stack: Stack, command: str) -> None:
    settings = [
        f"--env=FLAGS_SECRET_KEY={'0' * 32}",
        "--env=FLAGS_DATABASE_URL=postgresql://flags:secret@127.0.0.1:1/undercroft",
    ]
    done = run(
        ["docker", "run", "--rm", "--network=none", *settings, image("flags"), command], is_checked=False
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "cannot reach the database" in done.stderr
    assert "secret" not in done.stderr
