import compileall
import subprocess
import sys
from pathlib import Path

import pytest

from undercroft.launcher import main as main_module
from undercroft.launcher import up as up_module
from undercroft.launcher.main import main
from undercroft.launcher.options import DbOptions, UpOptions
from undercroft.shared.settings import SettingsError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[UpOptions]:
    for variable in ("GATEWAY_HOST", "GATEWAY_PORT", "UNDERCROFT_DATA_DIR", "UNDERCROFT_DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    options: list[UpOptions] = []
    monkeypatch.setattr(up_module, "up", lambda each, **_: options.append(each))
    return options


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def test_up_has_defaults(asked: list[UpOptions]):
    assert status_of("up") == 0

    assert (asked[0].host, asked[0].port) == ("127.0.0.1", 8080)
    assert asked[0].data_directory.name == ".undercroft"
    assert asked[0].database_url is None


def test_up_takes_options(asked: list[UpOptions]):
    arguments = ["--host=::1", "--port=0", "--data-dir=here", "--log-format=json", "--redis-url=redis://r"]
    arguments.append("--public-url=https://id.example")

    assert status_of("up", *arguments, "--database-url=postgresql://u:p@h/d") == 0

    assert asked == [
        UpOptions(
            data_directory=Path("here"),
            host="::1",
            port=0,
            log_format="json",
            database_url="postgresql://u:p@h/d",
            redis_url="redis://r",
            public_url="https://id.example",
        )
    ]
    assert "u:p" not in repr(asked[0])


def test_options_come_from_the_environment_too(asked: list[UpOptions], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GATEWAY_PORT", "8181")
    monkeypatch.setenv("UNDERCROFT_DATA_DIR", "/data")
    monkeypatch.setenv("UNDERCROFT_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("UNDERCROFT_PUBLIC_URL", "https://id.example")

    status_of("up", "--host=localhost")

    assert (asked[0].port, asked[0].data_directory) == (8181, Path("/data"))
    assert asked[0].database_url == "postgresql://h/d"
    assert asked[0].public_url == "https://id.example"


def test_options_come_from_a_dotenv_file_too(asked: list[UpOptions]):
    Path(".env").write_text("GATEWAY_PORT=8282\n", encoding="utf-8")

    status_of("up")

    assert asked[0].port == 8282


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["up", "--port=99999"], "argument --port: must be a number from 0 to 65535 (see: undercroft up"),
        (["up", "--port=many"], "argument --port: must be a number from 0 to 65535 (see: undercroft up"),
        (["up", "--log-format=xml"], "argument --log-format: invalid choice"),
        (["up", "extra"], "unrecognized arguments: extra (see: undercroft --help)"),
        (["down"], "invalid choice: 'down'"),
        ([], "the following arguments are required: command (see: undercroft --help)"),
        (["db", "downgrade", "base"], "the following arguments are required: --service"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    assert status_of(*arguments) == 1

    error = capsys.readouterr().err
    assert error.startswith("undercroft: ")
    assert line in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("value", ["many", "-1", "65536"])
def test_a_wrong_port_in_the_environment_is_one_line(
    value: str, asked: list[UpOptions], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("GATEWAY_PORT", value)

    assert status_of("up") == 1

    assert capsys.readouterr().err.startswith("undercroft: invalid setting: GATEWAY_PORT: ")


def test_an_expected_error_is_one_line(
    asked: list[UpOptions], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(_options: UpOptions, *, started: float) -> None:
        raise SettingsError("invalid setting: FLAGS_X: is wrong")

    monkeypatch.setattr(up_module, "up", fail)

    assert status_of("up") == 1
    assert capsys.readouterr().err == "undercroft: invalid setting: FLAGS_X: is wrong\n"


def test_a_bug_is_not_hidden(asked: list[UpOptions], monkeypatch: pytest.MonkeyPatch):
    def fail(_options: UpOptions, *, started: float) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(up_module, "up", fail)

    with pytest.raises(ZeroDivisionError):
        main(["up"])


def test_an_interrupted_command_has_the_status_of_the_signal(
    asked: list[UpOptions], monkeypatch: pytest.MonkeyPatch
):
    def interrupt(_options: UpOptions, *, started: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(up_module, "up", interrupt)

    assert status_of("up") == 130


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["upgrade"], DbOptions("upgrade", Path("d"))),
        (
            ["downgrade", "base", "--service=flags"],
            DbOptions("downgrade", Path("d"), service="flags", revision="base"),
        ),
        (
            ["revision", "--service=flags", "-m", "add x", "--empty"],
            DbOptions("revision", Path("d"), service="flags", message="add x", is_empty=True),
        ),
        (["merge", "--service=flags"], DbOptions("merge", Path("d"), service="flags", message="merge")),
    ],
)
def test_db_takes_options(arguments: list[str], options: DbOptions, monkeypatch: pytest.MonkeyPatch):
    from undercroft.launcher import db_command

    asked: list[DbOptions] = []
    monkeypatch.setattr(db_command, "run", asked.append)

    assert status_of("db", *arguments, "--data-dir=d") == 0
    assert asked == [options]


def test_reload_hands_over_to_the_watching_parent(asked: list[UpOptions], monkeypatch: pytest.MonkeyPatch):
    from undercroft.launcher import reload as reload_module

    monkeypatch.setattr(reload_module, "serve_and_watch", lambda options: 7)

    assert status_of("up", "--reload") == 7
    assert asked == []


def test_nothing_heavy_is_imported_before_the_database_is_started():
    code = """
import sys
import undercroft.launcher.main, undercroft.launcher.up, undercroft.launcher.database_servers
heavy = {"asyncio", "fastapi", "pydantic", "sqlalchemy", "alembic", "asyncpg", "rich", "httpx", "structlog"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("base", "package", "written_to"),
    [
        ("/usr", "not_compiled", "/usr/venv/bytecode"),
        ("/usr", "compiled", None),
        ("/usr/venv", "not_compiled", None),
    ],
    ids=["environment", "compiled by the installer", "system"],
)
def test_compiled_modules_are_kept_in_the_environment_where_python_may_not_write_them_beside_the_code(
    base: str, package: str, written_to: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    for name in ("compiled", "not_compiled"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    compileall.compile_dir(tmp_path / "compiled", quiet=2)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(main_module, "_BIGGEST_PACKAGE", package)
    monkeypatch.setattr(sys, "prefix", "/usr/venv")
    monkeypatch.setattr(sys, "base_prefix", base)

    main_module._keep_bytecode()

    assert sys.pycache_prefix == written_to
    assert sys.dont_write_bytecode == (written_to is None)


@pytest.fixture(autouse=True)
def unchanged_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    monkeypatch.setattr(sys, "pycache_prefix", sys.pycache_prefix)


def test_the_package_is_a_command():
    command = [sys.executable, "-m", "undercroft.launcher", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "up" in done.stdout
    assert main_module.__doc__
