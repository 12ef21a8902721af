"""What the user sees: progress on the first run, then one screen that says where everything is.

All of it goes to standard error. Standard output holds log lines and nothing else, so it stays parseable.
"""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from undercroft.launcher.data_directory import MAIL_DIRECTORY

_WIDEST_NAME = len("Operator key")
_ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  compared with, not listened on


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where everything is. `operator_key` is the key itself, on the run that made it only."""

    url: str
    data_directory: Path
    database: str
    operator_key_file: Path
    operator_key: str | None
    seconds: float

    @property
    def curl(self) -> str:
        """A command that works when pasted into any directory of this machine."""
        key = f"Authorization: Bearer $(cat {shlex.quote(str(self.operator_key_file))})"
        evaluation = f"{self.url}/ofrep/v1/evaluate/flags?environment=development"
        return f"""curl -sS '{evaluation}' -H "{key}" -H 'Content-Type: application/json' -d '{{"context": {{}}}}'"""


def browsable_url(host: str, port: int) -> str:
    """Return an address for a browser on this machine."""
    if host in _ANY_ADDRESS:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Screen:
    """Standard error as a screen: colour and a spinner on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)

    @contextmanager
    def step(self, doing: str, *, is_shown: bool) -> Iterator[None]:
        """Show what takes a moment, and how long it took."""
        if not is_shown:
            yield
            return
        started = time.monotonic()
        with self._console.status(f"{doing}…") if self._console.is_terminal else nullcontext():
            yield
        self._print(
            Text.assemble(("✓ ", "green"), f"{doing} ", (f"{time.monotonic() - started:.1f} s", "dim"))
        )

    def show(self, whereabouts: Whereabouts) -> None:
        """Say where everything is."""
        self._print("")
        self._print(
            Text.assemble(("Undercroft", "bold green"), f" is ready after {whereabouts.seconds:.1f} s")
        )
        for name, value in _rows(whereabouts):
            padding = " " * (_WIDEST_NAME - len(name)) if self._console.is_terminal else ""
            self._print(Text.assemble((f"{name}: ", "bold"), padding, value))
        self._print("")
        self._print(Text(whereabouts.curl, style="cyan"))
        self._print("")
        if self._console.is_terminal:
            self._print(Text("Ctrl-C stops it.", style="dim"))

    def _print(self, line: str | Text) -> None:
        # Never wrapped: a line break would be part of what is copied.
        self._console.print(line, soft_wrap=True, markup=False)


def _rows(where: Whereabouts) -> list[tuple[str, str]]:
    rows = [
        ("Gateway", where.url),
        ("Docs", f"{where.url}/docs"),
        ("Status", f"{where.url}/v1/status"),
        ("Data", str(where.data_directory)),
        ("Mail", f"in {where.data_directory / MAIL_DIRECTORY}, unless IDENTITY_SMTP_URL is set"),
        ("Database", where.database),
    ]
    if where.operator_key is None:
        return [*rows, ("Operator key", f"in {where.operator_key_file}")]
    return [*rows, ("Operator key", where.operator_key), ("Shown once", f"kept in {where.operator_key_file}")]
