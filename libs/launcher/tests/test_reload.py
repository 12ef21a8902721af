import signal
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest
from watchfiles import Change

from undercroft.launcher import reload
from undercroft.launcher.errors import LauncherError
from undercroft.launcher.options import UpOptions
from undercroft.launcher.reload import CodeFilter, serve_and_watch

Changes = AbstractSet[tuple[Change, str]]


class FakeChild:
    """Stands for the serving process: a border of this one."""

    def __init__(self, command: list[str], *, status: int | None = None, **options: object) -> None:
        self.command = command
        self.options = options
        self.returncode = status
        self.signals: list[str] = []

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.signals.append("terminate")

    def kill(self) -> None:
        self.signals.append("kill")

    def wait(self, timeout: float | None = None) -> int:
        return self.returncode or 0


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    spawned: list[FakeChild] = []

    def spawn(command: list[str], **options: Any) -> FakeChild:
        spawned.append(FakeChild(command, **options))
        return spawned[-1]

    monkeypatch.setattr(subprocess, "Popen", spawn)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return spawned


def script(monkeypatch: pytest.MonkeyPatch, *rounds: Changes) -> None:
    def watch(*_: Path, **__: object) -> Iterator[Changes]:
        yield from rounds

    monkeypatch.setattr(reload, "watch", watch)


def test_a_change_replaces_the_child(
    children: list[FakeChild],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    script(monkeypatch, {(Change.modified, "/x/flags/main.py")}, set())

    assert serve_and_watch(UpOptions(tmp_path, port=0)) == 0

    assert [each.signals for each in children] == [["terminate"], ["terminate"]]
    assert capsys.readouterr().err == "undercroft: main.py changed, restarting\n"


def test_the_child_inherits_sockets_and_lifeline_and_no_secret_in_its_arguments(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    script(monkeypatch)
    options = UpOptions(tmp_path, port=0, log_format="json", database_url="postgresql://u:secret@h/d")

    serve_and_watch(options)

    command = children[0].command
    assert command[:4] == [sys.executable, "-m", "undercroft.launcher", "up"]
    assert "secret" not in " ".join(command)
    assert children[0].options["env"]["UNDERCROFT_DATABASE_URL"] == "postgresql://u:secret@h/d"  # type: ignore[index]
    descriptors = {int(each.partition("=")[2]) for each in command if "-fd=" in each}
    assert descriptors == set(children[0].options["pass_fds"])  # type: ignore[call-overload]


def test_a_child_that_cannot_start_ends_the_parent_with_its_status(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def watch(*_: Path, **__: object) -> Iterator[Changes]:
        yield set()
        children[0].returncode = 1
        yield set()
        pytest.fail("the parent goes on")

    monkeypatch.setattr(reload, "watch", watch)

    assert serve_and_watch(UpOptions(tmp_path, port=0)) == 1


def test_a_child_that_fails_after_a_change_waits_for_the_next_one(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def watch(*_: Path, **__: object) -> Iterator[Changes]:
        yield {(Change.modified, "/x/main.py")}
        children[1].returncode = 1
        yield set()
        yield {(Change.modified, "/x/main.py")}

    monkeypatch.setattr(reload, "watch", watch)

    serve_and_watch(UpOptions(tmp_path, port=0))

    assert len(children) == 3


def test_a_child_that_does_not_stop_is_killed(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    script(monkeypatch)

    def never(self: FakeChild, timeout: float | None = None) -> int:
        if timeout is not None:
            raise subprocess.TimeoutExpired("child", timeout)
        return -9

    monkeypatch.setattr(FakeChild, "wait", never)

    assert serve_and_watch(UpOptions(tmp_path, port=0)) == -9
    assert children[0].signals == ["terminate", "kill"]


def test_each_signal_after_the_first_is_passed_on(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    handlers = []
    monkeypatch.setattr(signal, "signal", lambda _, handler: handlers.append(handler))

    def watch(*_: Path, stop_event, **__: object) -> Iterator[Changes]:  # noqa: ANN001  watchfiles gives an event of its own
        handlers[0](signal.SIGINT, None)
        assert stop_event.is_set()
        handlers[0](signal.SIGINT, None)
        yield from ()

    monkeypatch.setattr(reload, "watch", watch)

    serve_and_watch(UpOptions(tmp_path, port=0))

    assert children[0].signals == ["terminate", "terminate"]


def test_without_a_checkout_there_is_nothing_to_watch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(reload, "checkout_root", lambda: None)

    with pytest.raises(LauncherError, match="--reload watches a checkout"):
        serve_and_watch(UpOptions(tmp_path, port=0))


def test_code_and_tables_are_watched_and_leftovers_are_not():
    is_watched = CodeFilter()

    assert is_watched(Change.modified, "/src/undercroft/gateway/routes.toml")
    assert is_watched(Change.added, "/services/flags/migrations/versions/x.py")
    assert not is_watched(Change.modified, "/src/__pycache__/main.cpython-311.pyc")
    assert not is_watched(Change.modified, "/src/.main.py.swp")
    assert {each.name for each in reload._folders()} == {"src", "migrations"}
