import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from undercroft.launcher.screen import Screen, Whereabouts, browsable_url

TERMINAL_OR_NOT = pytest.mark.parametrize("is_terminal", [True, False])
WHERE = Whereabouts(
    url="http://127.0.0.1:8080",
    data_directory=Path("/srv/my data/.undercroft"),
    database="/srv/my data/.undercroft/postgres",
    operator_key_file=Path("/srv/my data/.undercroft/operator.key"),
    operator_key="uc_live_key",
    seconds=2.34,
)


def shown(where: Whereabouts, *, is_terminal: bool) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=is_terminal, width=40, color_system=None)
    Screen(console).show(where)
    return output.getvalue()


@TERMINAL_OR_NOT
def test_the_first_run_shows_the_key_and_where_everything_is(*, is_terminal: bool):
    text = shown(WHERE, is_terminal=is_terminal)

    assert "is ready after 2.3 s" in text
    assert "http://127.0.0.1:8080/docs" in text
    assert "uc_live_key" in text


def test_later_runs_show_only_where_the_key_is():
    text = shown(replace(WHERE, operator_key=None), is_terminal=False)

    assert "Operator key: in /srv/my data/.undercroft/operator.key\n" in text


@TERMINAL_OR_NOT
def test_the_command_to_paste_is_one_line_however_narrow_the_screen(*, is_terminal: bool):
    text = shown(WHERE, is_terminal=is_terminal)

    assert WHERE.curl in text.splitlines()
    assert "$(cat '/srv/my data/.undercroft/operator.key')" in WHERE.curl


@TERMINAL_OR_NOT
def test_a_step_says_how_long_it_took(*, is_terminal: bool):
    output = io.StringIO()
    screen = Screen(Console(file=output, force_terminal=is_terminal, color_system=None))

    with screen.step("Migrating flags", is_shown=True):
        pass
    with screen.step("Migrating identity", is_shown=False):
        pass

    assert "✓ Migrating flags 0.0 s\n" in output.getvalue()
    assert "identity" not in output.getvalue()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_the_address_shown_works_in_a_browser(host: str, url: str):
    assert browsable_url(host, 80) == url
