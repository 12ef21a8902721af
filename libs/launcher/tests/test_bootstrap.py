import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
LINUX = (
    "uv-1.2.3-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "uv-1.2.3-py3-none-musllinux_1_1_x86_64.whl",
)
ARM = "uv-1.2.3-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl"
NEWER_LIBC = "uv-1.2.3-py3-none-manylinux_2_28_aarch64.whl"
MAC = ("uv-1.2.3-py3-none-macosx_10_12_x86_64.whl", "uv-1.2.3-py3-none-macosx_11_0_arm64.whl")
WHEELS = (
    "uv-1.2.3-py3-none-linux_armv6l.whl",
    *MAC,
    NEWER_LIBC,
    ARM,
    *LINUX,
    "uv-1.2.3-py3-none-win_amd64.whl",
)


def load_bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap_uv", ROOT / "deploy" / "bootstrap_uv.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bootstrap = load_bootstrap()


def make_lock(directory: Path, entries: dict[str, str]) -> Path:
    lines = "".join(
        f'    {{ url = "{url}", hash = "sha256:{sha256}" }},\n' for url, sha256 in entries.items()
    )
    lock = directory / "uv.lock"
    lock.write_text(f'version = 1\n\n[[package]]\nname = "uv"\nversion = "1.2.3"\nwheels = [\n{lines}]\n')
    return lock


def make_wheel(directory: Path) -> tuple[str, str]:
    """Write a wheel for this machine and return its address and SHA-256."""
    machine = bootstrap.this_machine()
    libc = {"glibc": "manylinux", "musl": "musllinux"}.get(machine.libc, "macosx")
    path = directory / f"uv-1.2.3-py3-none-{libc}_1_0_{machine.architecture}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("uv-1.2.3.data/scripts/uvx", "not this one")
        wheel.writestr("uv-1.2.3.data/scripts/uv", "#!/bin/sh\necho uv 1.2.3\n")
    return path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "fetch_with_pip", lambda *_: None)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the script needs, with a uv on its own path that tells how it was called."""
    root = tmp_path / "check out"
    (root / "deploy").mkdir(parents=True)
    (root / ".venv").mkdir()
    (root / ".venv" / ".compiled").touch()
    shutil.copy(ROOT / "undercroft", root)
    shutil.copy(ROOT / "deploy" / "bootstrap_uv.py", root / "deploy")
    (root / "pyproject.toml").write_text('[tool.uv]\nrequired-version = ">=0.7"\n')
    return root


def put_uv(directory: Path, version: str, *, sync_status: int = 0) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    executable = directory / "uv"
    executable.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "uv {version} (build)" && exit\n'
        'printf "%s|" "$@" "$PWD" "${VIRTUAL_ENV-unset}" "$0"\n'
        f'[ "$1" != sync ] || exit {sync_status}\n'
    )
    executable.chmod(0o755)


def run_script(script: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{path or ''}:/usr/bin:/bin", "VIRTUAL_ENV": "/elsewhere"}
    command = [str(script), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", env=environment)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (("Linux", "x86_64", "glibc", (2, 36)), LINUX[0]),
        (("Linux", "x86_64", "musl", (1, 2)), LINUX[1]),
        (("Linux", "aarch64", "glibc", (2, 17)), ARM),
        (("Linux", "aarch64", "glibc", (2, 28)), NEWER_LIBC),
        (("Linux", "aarch64", "musl", (1, 2)), ARM),
        (("Darwin", "x86_64", "", (10, 15)), MAC[0]),
        (("Darwin", "arm64", "", (14, 1)), MAC[1]),
    ],
)
def test_the_wheel_is_the_one_for_the_machine(machine: tuple[object, ...], expected: str) -> None:
    release = bootstrap.Release("1.2.3", [bootstrap.Wheel(f"file:///w/{name}", "0") for name in WHEELS])
    assert bootstrap.choose_wheel(release, bootstrap.Machine(*machine)).name == expected


@pytest.mark.parametrize(
    "machine", [("Linux", "sparc", "glibc", (2, 36)), ("Linux", "x86_64", "glibc", (2, 5))]
)
def test_a_machine_without_a_wheel_is_told_so(machine: tuple[object, ...]) -> None:
    release = bootstrap.Release("1.2.3", [bootstrap.Wheel(f"file:///w/{name}", "0") for name in WHEELS])
    with pytest.raises(bootstrap.BootstrapError, match=r"no wheel for .*: install uv yourself"):
        bootstrap.choose_wheel(release, bootstrap.Machine(*machine))


def test_the_lock_of_this_repository_pins_a_uv_for_this_machine() -> None:
    release = bootstrap.read_release(ROOT / "uv.lock")
    wheel = bootstrap.choose_wheel(release, bootstrap.this_machine())
    assert wheel.name.startswith(f"uv-{release.version}-")
    assert len(wheel.sha256) == 64


@pytest.mark.parametrize("content", [None, "no toml", "version = 1\n", '[[package]]\nname = "other"\n'])
def test_a_lock_without_uv_is_told_so(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "uv.lock").write_text(content)
    with pytest.raises(bootstrap.BootstrapError, match="does not tell which uv to use"):
        bootstrap.read_release(tmp_path / "uv.lock")


def test_the_pinned_uv_is_brought(
    tmp_path: Path, without_pip: None, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = make_lock(tmp_path, dict([make_wheel(tmp_path)]))
    assert bootstrap.main([str(lock), str(tmp_path / "own" / "uv")]) == 0
    executable = tmp_path / "own" / "uv" / "uv"
    assert subprocess.check_output([executable], text=True) == "uv 1.2.3\n"
    assert [path.name for path in executable.parent.iterdir()] == ["uv"]
    assert capsys.readouterr().err == "undercroft: fetching uv 1.2.3 (once)…\n"


def test_an_altered_wheel_is_refused(
    tmp_path: Path, without_pip: None, capsys: pytest.CaptureFixture[str]
) -> None:
    url, _ = make_wheel(tmp_path)
    assert bootstrap.main([str(make_lock(tmp_path, {url: "0" * 64})), str(tmp_path / "own")]) == 1
    assert list((tmp_path / "own").iterdir()) == []
    assert "was cut or altered on its way" in capsys.readouterr().err


def test_a_failed_download_says_what_to_do(
    tmp_path: Path, without_pip: None, capsys: pytest.CaptureFixture[str]
) -> None:
    url, sha256 = make_wheel(tmp_path)
    Path(url.removeprefix("file://")).unlink()
    assert bootstrap.main([str(make_lock(tmp_path, {url: sha256})), str(tmp_path / "own")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("undercroft: cannot download uv-1.2.3")
    assert "SSL_CERT_FILE" in error
    assert error.endswith("or install uv yourself")


def test_a_checkout_that_cannot_be_written_is_told_so(
    tmp_path: Path, without_pip: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own").write_text("a file where the directory should be")
    lock = make_lock(tmp_path, dict([make_wheel(tmp_path)]))
    assert bootstrap.main([str(lock), str(tmp_path / "own")]) == 1
    assert capsys.readouterr().err.endswith("make the checkout writable, or install uv yourself\n")


def test_a_wheel_without_an_executable_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "empty.whl"
    with zipfile.ZipFile(archive, "w"):
        pass
    with pytest.raises(bootstrap.BootstrapError, match="holds no uv"):
        bootstrap.unpack(archive, tmp_path / "uv")


def test_what_a_killed_run_left_is_removed_and_a_running_one_spared(
    tmp_path: Path, without_pip: None
) -> None:
    lock = make_lock(tmp_path, dict([make_wheel(tmp_path)]))
    (tmp_path / "own" / "new-abandoned").mkdir(parents=True)
    (tmp_path / "own" / "new-running").mkdir()
    os.utime(tmp_path / "own" / "new-abandoned", (0, 0))
    bootstrap.bring(lock, tmp_path / "own")
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["new-running", "uv"]


@pytest.fixture
def pip_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the interpreter by a script whose pip copies the wheel of `url` to its --dest."""

    def install(url: str, *, outcome: str = "true") -> None:
        python = tmp_path / "python"
        copy = f'cp {url.removeprefix("file://")} "${{argument#--dest=}}"'
        python.write_text(
            f"#!/bin/sh\nfor argument; do case $argument in --dest=*) {copy} ;; esac; done\n{outcome}\n"
        )
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))

    return install


def test_pip_is_asked_first(tmp_path: Path, pip_of: Callable[..., None]) -> None:
    url, sha256 = make_wheel(tmp_path)
    pip_of(url)
    bootstrap.bring(make_lock(tmp_path, {url.replace("uv-", "gone/uv-"): sha256}), tmp_path / "own")
    assert (tmp_path / "own" / "uv").exists()


def test_a_wheel_from_pip_is_believed_only_with_a_known_hash(
    tmp_path: Path, pip_of: Callable[..., None]
) -> None:
    url, _ = make_wheel(tmp_path)
    pip_of(url)
    (tmp_path / "scratch").mkdir()
    release = bootstrap.Release("1.2.3", [bootstrap.Wheel(url, "0")])
    assert bootstrap.fetch_with_pip(release, tmp_path / "scratch") is None


def test_without_a_working_pip_the_lock_s_address_is_used(
    tmp_path: Path, pip_of: Callable[..., None]
) -> None:
    url, sha256 = make_wheel(tmp_path)
    pip_of(url, outcome="false")
    bootstrap.bring(make_lock(tmp_path, {url: sha256}), tmp_path / "own")
    assert (tmp_path / "own" / "uv").exists()


def test_an_interrupt_ends_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "bring", interrupt)
    assert bootstrap.main(["uv.lock", str(tmp_path)]) == 130


def test_the_script_hands_over_to_the_uv_on_the_path(checkout: Path, tmp_path: Path) -> None:
    put_uv(tmp_path / "bin", "0.7.0")
    done = run_script(checkout / "undercroft", "up", "--port", "a b", path=tmp_path / "bin")
    assert (
        done.stdout == f"run|--frozen|--no-dev|undercroft|up|--port|a b|{checkout}|unset|{tmp_path}/bin/uv|"
    )
    assert done.stderr == ""


def test_the_script_runs_the_tests(checkout: Path, tmp_path: Path) -> None:
    put_uv(tmp_path / "bin", "1.0.0")
    done = run_script(checkout / "undercroft", "test", "-k", "flags", path=tmp_path / "bin")
    assert done.stdout.startswith(f"run|--frozen|pytest|-k|flags|{checkout}|")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("test", "sync|--frozen|--compile-bytecode|"), ("up", "sync|--frozen|--compile-bytecode|--no-dev|")],
)
def test_a_new_environment_is_compiled_first(
    checkout: Path, tmp_path: Path, argument: str, expected: str
) -> None:
    (checkout / ".venv" / ".compiled").unlink()
    put_uv(tmp_path / "bin", "0.13.9")
    done = run_script(checkout / "undercroft", argument, path=tmp_path / "bin")
    assert done.stdout.startswith(expected)
    assert "run|--frozen|" in done.stdout
    assert "sync" not in run_script(checkout / "undercroft", argument, path=tmp_path / "bin").stdout


def test_packages_that_cannot_be_installed_say_what_certificates_need(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".venv" / ".compiled").unlink()
    put_uv(tmp_path / "bin", "0.13.9", sync_status=2)
    done = run_script(checkout / "undercroft", "up", path=tmp_path / "bin")
    assert done.returncode == 1
    assert "run|" not in done.stdout
    assert done.stderr.startswith("undercroft: the packages could not be installed")
    assert "SSL_CERT_FILE" in done.stderr
    assert "UV_SYSTEM_CERTS=true" in done.stderr


@pytest.mark.parametrize(
    "target", ["check out/undercroft", "{root}/undercroft"], ids=["relative", "absolute"]
)
def test_the_script_follows_a_link(checkout: Path, tmp_path: Path, target: str) -> None:
    put_uv(tmp_path / "bin", "0.13.9")
    (tmp_path / "link").symlink_to(target.format(root=checkout))
    done = run_script(tmp_path / "link", path=tmp_path / "bin")
    assert done.stdout.startswith(f"run|--frozen|--no-dev|undercroft|{checkout}|")


@pytest.mark.parametrize("version", ["0.6.17", "broken"])
def test_a_uv_that_is_too_old_or_broken_is_passed_over(checkout: Path, tmp_path: Path, version: str) -> None:
    put_uv(tmp_path / "bin", version)
    put_uv(checkout / ".undercroft" / "uv", "0.13.9")
    done = run_script(checkout / "undercroft", "up", path=tmp_path / "bin")
    assert done.stdout.endswith(f"|{checkout}/.undercroft/uv/uv|")


def test_without_uv_and_python_the_script_says_what_it_needs(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "sed", "dirname", "echo"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [checkout / "undercroft", "up"], check=False, capture_output=True, text=True, env={"PATH": str(tools)}
    )
    assert done.returncode == 1
    assert done.stderr == "undercroft: needs Python 3.11 or newer, or uv: install one of them and try again\n"


def test_a_failed_bootstrap_ends_the_script_with_one_line(checkout: Path, tmp_path: Path) -> None:
    put_uv(tmp_path / "bin", "broken")
    done = run_script(checkout / "undercroft", "up", path=tmp_path / "bin")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "does not tell which uv to use" in done.stderr


def test_the_script_is_executable_and_names_no_registry() -> None:
    assert (ROOT / "undercroft").stat().st_mode & stat.S_IXUSR
    sources = (ROOT / "undercroft").read_text() + (ROOT / "deploy" / "bootstrap_uv.py").read_text()
    assert "://" not in sources
