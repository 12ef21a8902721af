"""docker-compose.yml as it is read: by the Compose Specification, by compose 1.29, and by those who add a service."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from undercroft.launcher.deployables import DEPLOYABLES, Deployable

from .containers import CHECKOUT, PUBLIC_IMAGES, compose_command, run

FILES = ("docker-compose.yml", "docker-compose.dev.yml")
DOCUMENT = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
DEVELOPMENT = yaml.safe_load((CHECKOUT / "docker-compose.dev.yml").read_text())
WITH_DATABASE = [each.name for each in DEPLOYABLES if each.has_database]


@pytest.mark.parametrize("file", FILES)
def test_it_conforms_to_the_current_compose_specification(file: str) -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    run([str(checker), "--builtin-schema", "vendor.compose-spec", file])


@pytest.mark.docker
@pytest.mark.parametrize("files", [FILES[:1], FILES])
def test_compose_reads_it(files: tuple[str, ...], tmp_path: Path) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("neither docker-compose nor docker compose is installed")
    options = [option for file in files for option in ("--file", file)]
    run([*command, *options, "config", "--quiet"], environment={"UNDERCROFT_SECRETS": str(tmp_path)})


def test_the_defaults_are_public_images() -> None:
    text = (CHECKOUT / "docker-compose.yml").read_text()
    for variable, image in PUBLIC_IMAGES.items():
        assert f"${{{variable}:-{image}}}" in text
    assert f"ARG PYTHON_IMAGE={PUBLIC_IMAGES['PYTHON_IMAGE']}" in (CHECKOUT / "deploy/Dockerfile").read_text()


@pytest.mark.parametrize("deployable", DEPLOYABLES, ids=lambda each: each.name)
def test_every_deployable_is_a_service_with_its_own_secrets(deployable: Deployable) -> None:
    service = DOCUMENT["services"][deployable.name]
    prefix = deployable.name.upper()
    assert service["build"]["args"]["SERVICE"] == deployable.name
    assert service["environment"][f"{prefix}_SECRET_KEY_FILE"] == f"/run/secrets/{deployable.name}_secret_key"
    assert set(service["secrets"]) == {
        path.removeprefix("/run/secrets/")
        for path in map(str, service["environment"].values())
        if path.startswith("/run/secrets/")
    }
    assert deployable.name in DEVELOPMENT["services"]


@pytest.mark.parametrize("name", WITH_DATABASE)
def test_every_schema_is_migrated_before_its_service_starts(name: str) -> None:
    services = DOCUMENT["services"]
    assert services[name]["depends_on"] == {
        f"{name}-migrate": {"condition": "service_completed_successfully"}
    }
    assert services[f"{name}-migrate"]["command"] == ["migrate"]
    assert services[f"{name}-migrate"]["image"] == services[name]["image"]
    assert services[f"{name}-migrate"]["build"] == services[name]["build"]
    assert f"{name}_database_url" in services["roles"]["secrets"]


def test_a_secret_reaches_nobody_who_does_not_need_it() -> None:
    holders: dict[str, set[str]] = {}
    for name, service in DOCUMENT["services"].items():
        for secret in service.get("secrets", ()):
            holders.setdefault(secret, set()).add(name.removesuffix("-migrate"))
    shared = {
        "postgres_password": {"postgres", "roles"},
        "redis_conf": {"redis"},
        "redis_url": {"gateway", "identity"},
    }
    shared["operator_key"] = {"identity"}
    own = {
        secret: {secret.partition("_")[0]} | ({"roles"} if secret.endswith("_database_url") else set())
        for secret in DOCUMENT["secrets"]
        if secret not in shared
    }
    assert holders == shared | own


def test_code_is_reloaded_and_a_broken_change_does_not_end_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("print('first', flush=True)\n")
    command = [sys.executable, str(CHECKOUT / "deploy/reload.py"), sys.executable, str(program)]
    with subprocess.Popen(
        command,
        env={"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "first\n"
        program.write_text("syntax error\n")
        program.write_text("import time; print('second', flush=True); time.sleep(60)\n# longer\n")
        assert watching.stdout.readline() == "second\n"
        watching.terminate()
        assert watching.wait(10) == 0
