import json
import os
import stat
from pathlib import Path

import pytest

from undercroft.launcher import data_directory
from undercroft.launcher.data_directory import DataDirectory, checkout_root, default_location
from undercroft.launcher.errors import AlreadyRunningError, DataDirectoryUnusableError


def names_in(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_default_is_in_the_checkout_whatever_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    assert default_location() == Path(__file__).parents[3] / ".undercroft"


def test_without_a_checkout_the_default_is_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data_directory, "__file__", "/wheel/undercroft/launcher/data_directory.py")

    assert checkout_root() is None
    assert default_location() == tmp_path / ".undercroft"


def test_a_shallow_place_is_no_checkout(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_directory, "__file__", "/data_directory.py")

    assert checkout_root() is None


def test_the_master_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path):
    directory = DataDirectory(tmp_path / "new" / "data")

    first = directory.master_secret()

    assert len(first) >= 43
    assert DataDirectory(tmp_path / "new" / "data").master_secret() == first
    assert mode_of(directory.path / "secrets") == 0o600
    assert names_in(directory.path) == ["secrets"]


def test_of_two_who_make_the_secret_at_once_the_first_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    directory = DataDirectory(tmp_path)
    theirs = json.dumps({"master": "t" * 43})
    link = os.link

    def lose(source: Path, target: Path) -> None:
        target.write_text(theirs, encoding="utf-8")
        link(source, target)

    monkeypatch.setattr(os, "link", lose)

    assert directory.master_secret() == "t" * 43
    assert names_in(tmp_path) == ["secrets"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"master": 1}', '{"master": "short"}', "\xff"])
def test_a_damaged_secret_is_refused_and_kept(tmp_path: Path, content: str):
    (tmp_path / "secrets").write_text(content, encoding="latin-1")

    with pytest.raises(DataDirectoryUnusableError, match="is damaged: restore it"):
        DataDirectory(tmp_path).master_secret()

    assert (tmp_path / "secrets").read_text(encoding="latin-1") == content


def test_a_secret_that_cannot_be_read_says_what_to_do(tmp_path: Path):
    (tmp_path / "secrets").mkdir()

    with pytest.raises(
        DataDirectoryUnusableError, match=r"cannot use .*secrets: Is a directory; .*--data-dir"
    ):
        DataDirectory(tmp_path).master_secret()


def test_a_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(DataDirectoryUnusableError, match=r"Not a directory; .*--data-dir"):
        DataDirectory(tmp_path / "file" / "data").make()


def test_a_directory_in_use_names_who_uses_it(tmp_path: Path):
    with (
        DataDirectory(tmp_path).in_use(),
        pytest.raises(
            AlreadyRunningError, match=rf"already runs on .* \(process {os.getpid()}\): stop that one"
        ),
        DataDirectory(tmp_path).in_use(),
    ):
        pytest.fail("it is in use")


def test_a_directory_is_free_again_after_use(tmp_path: Path):
    with DataDirectory(tmp_path).in_use():
        pass
    with DataDirectory(tmp_path).in_use():
        assert (tmp_path / "up.lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_that_cannot_be_opened_says_what_to_do(tmp_path: Path):
    (tmp_path / "up.lock").mkdir()

    with pytest.raises(DataDirectoryUnusableError, match="Is a directory"), DataDirectory(tmp_path).in_use():
        pytest.fail("there is no lock")


def test_the_operator_key_replaces_an_earlier_one_and_is_readable_by_its_owner_only(tmp_path: Path):
    directory = DataDirectory(tmp_path)
    directory.write_operator_key("uc_old")

    directory.write_operator_key("uc_new")

    assert directory.operator_key.read_text() == "uc_new\n"
    assert mode_of(directory.operator_key) == 0o600
    assert names_in(tmp_path) == ["operator.key"]


def test_an_operator_key_that_cannot_be_written_says_what_to_do(tmp_path: Path):
    directory = DataDirectory(tmp_path)
    directory.operator_key.mkdir()
    (directory.operator_key / "in the way").touch()

    with pytest.raises(DataDirectoryUnusableError, match=r"cannot use .*operator\.key: Is a directory"):
        directory.write_operator_key("uc_new")


def test_a_file_in_its_place_is_told(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(DataDirectoryUnusableError, match="is not a directory: choose another place"):
        DataDirectory(tmp_path / "file").make()
