import json
import stat
from pathlib import Path

import pytest

from undercroft.launcher import deployment_secrets
from undercroft.launcher.deployables import DEPLOYABLES, Deployable
from undercroft.launcher.deployment_secrets import default_directory, make_secrets
from undercroft.launcher.errors import LauncherError
from undercroft.launcher.main import main
from undercroft.shared.tokens import parse_token


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_every_deployable_gets_its_own_secrets(tmp_path: Path):
    made = make_secrets(tmp_path / "secrets")

    files = contents(tmp_path / "secrets")
    assert set(made) == set(files)
    assert {f"{each.name}_secret_key" for each in DEPLOYABLES} <= set(files)
    assert len({files[f"{each.name}_secret_key"] for each in DEPLOYABLES}) == len(DEPLOYABLES)
    assert "gateway_database_url" not in files
    assert files["flags_database_url"].startswith("postgresql://flags:")
    assert parse_token(files["operator_key"].strip()) is not None


def test_both_sides_of_a_call_share_a_key_and_nobody_else_has_it(tmp_path: Path):
    make_secrets(tmp_path)

    keys = {
        each.name: json.loads((tmp_path / f"{each.name}_principal_keys").read_text()) for each in DEPLOYABLES
    }
    assert keys["gateway"]["gateway|flags"] == keys["flags"]["gateway|flags"]
    assert "gateway|flags" not in keys["identity"]


def test_redis_and_its_client_know_the_same_password(tmp_path: Path):
    make_secrets(tmp_path)

    password = (tmp_path / "redis_conf").read_text().split()[1]
    assert f":{password}@redis:" in (tmp_path / "redis_url").read_text()


def test_only_the_owner_gets_to_the_files_and_containers_can_read_them(tmp_path: Path):
    directory = tmp_path / "secrets"
    directory.mkdir(mode=0o755)

    make_secrets(directory)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "flags_secret_key").stat().st_mode) == 0o444
    assert stat.S_IMODE((directory / "master").stat().st_mode) == 0o400


def test_what_is_there_is_never_overwritten(tmp_path: Path):
    make_secrets(tmp_path)
    before = contents(tmp_path)

    assert make_secrets(tmp_path) == []
    assert contents(tmp_path) == before


def test_what_was_lost_comes_back_as_it_was(tmp_path: Path):
    make_secrets(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "flags_database_url").unlink()

    assert make_secrets(tmp_path) == ["flags_database_url"]
    assert contents(tmp_path) == before


def test_a_service_that_joins_later_is_known_to_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_secrets(tmp_path)
    before = json.loads((tmp_path / "gateway_principal_keys").read_text())
    joined = (*DEPLOYABLES, Deployable("usage", settings_class="UsageSettings"))
    monkeypatch.setattr(deployment_secrets, "DEPLOYABLES", joined)

    made = make_secrets(tmp_path)

    after = json.loads((tmp_path / "gateway_principal_keys").read_text())
    assert {"usage_secret_key", "usage_database_url", "gateway_principal_keys"} <= set(made)
    assert (
        after["gateway|usage"] == json.loads((tmp_path / "usage_principal_keys").read_text())["gateway|usage"]
    )
    assert {pair: after[pair] for pair in before} == before


def test_a_damaged_file_is_named(tmp_path: Path):
    make_secrets(tmp_path)
    path = tmp_path / "flags_principal_keys"
    path.unlink()
    path.write_text("{")

    with pytest.raises(LauncherError, match="flags_principal_keys is damaged"):
        make_secrets(tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(LauncherError, match="file/secrets"):
        make_secrets(tmp_path / "file" / "secrets")


def test_the_command_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for expected in ("made master, ", "everything is there"):
        with pytest.raises(SystemExit) as leaving:
            main(["secrets", "--directory", str(tmp_path / "secrets")])
        assert leaving.value.code == 0
        assert expected in capsys.readouterr().out


def test_they_lie_where_compose_looks():
    root = Path(__file__).parents[3]
    assert default_directory() == root / "deploy" / "secrets"
    assert "deploy/secrets/" in (root / ".gitignore").read_text().split()
