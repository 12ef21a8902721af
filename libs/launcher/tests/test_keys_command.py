import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from undercroft.launcher.main import main


def run_in_thread(*arguments: str) -> int:
    """Run the command as a process of its own would: without a running loop."""
    statuses: list[int] = []

    def work() -> None:
        try:
            main(arguments)
        except SystemExit as ended:
            statuses.append(int(str(ended.code)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return statuses[0]


async def test_signing_keys_are_listed_and_rotated(
    create_database: Callable[[], Awaitable[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    url = make_url(await create_database()).set(drivername="postgresql")
    place = ("--data-dir", str(tmp_path), "--database-url", url.render_as_string(hide_password=False))
    assert run_in_thread("keys", "list", *place) == 0
    listed = capsys.readouterr().out.splitlines()
    assert run_in_thread("keys", "rotate", *place) == 0
    rotated = capsys.readouterr().out.splitlines()
    assert (len(listed), len(rotated)) == (2, 4)
    assert {line.split()[0] for line in listed} < {line.split()[0] for line in rotated}
