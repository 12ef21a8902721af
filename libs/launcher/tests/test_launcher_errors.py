import pytest

from undercroft.launcher.errors import AlreadyRunningError, LauncherError, explain
from undercroft.shared.listeners import ListenError
from undercroft.shared.migrations import SchemaNewerThanCodeError
from undercroft.shared.postgres_server import PostgresBinariesMissingError
from undercroft.shared.settings import SettingsError


@pytest.mark.parametrize(
    "kind",
    [
        LauncherError,
        AlreadyRunningError,
        ListenError,
        PostgresBinariesMissingError,
        SchemaNewerThanCodeError,
        SettingsError,
    ],
)
def test_what_we_expect_is_explained_by_its_own_line(kind: type[Exception]):
    assert explain(kind("do this")) == "do this"


def test_a_bug_is_not_explained():
    assert explain(ValueError("x")) is None
