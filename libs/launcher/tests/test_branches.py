"""Two developers change a service's schema at the same time, by the commands that they would type.

Both begin with a copy of the service's own history and environment, and for a while its models have their tables too.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from undercroft.launcher.deployables import Deployable, with_database
from undercroft.launcher.main import main
from undercroft.shared.migrations import find_migrations, heads

CreateDatabase = Callable[[], Awaitable[str]]

every_service = pytest.mark.parametrize("service", with_database(), ids=lambda service: service.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A developer's copy of a service's history, as the package `<developer>.<service>`, and their database."""

    package: str
    versions: Path
    database_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Branches:
    """Where `left` has pulled what `right` committed, and each one's database has only their own branch."""

    left: Checkout
    right: Checkout
    head_of_right: str


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where a developer types `undercroft db ...` for one service."""

    service: Deployable
    data_directory: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    async def type(self, checkout: Checkout, *arguments: str, url: str | None = None) -> tuple[int, str]:
        """Run a command in a checkout, on its own database or another; returns the status and all that it says."""
        self.monkeypatch.setattr(Deployable, "package", checkout.package)
        place = ["--data-dir", str(self.data_directory), "--database-url", url or checkout.database_url]
        status = await asyncio.to_thread(_status_of, "db", *arguments, "--service", self.service.name, *place)
        return status, "".join(self.capsys.readouterr())


def _status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


@pytest.fixture
def terminal(
    service: Deployable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    return Terminal(service, tmp_path / "data", monkeypatch, capsys)


@pytest.fixture
def new_database(create_database: CreateDatabase) -> CreateDatabase:
    async def create() -> str:
        url = make_url(await create_database()).set(drivername="postgresql")
        return url.render_as_string(hide_password=False)

    return create


@contextmanager
def tables(service: str, *names: str) -> Iterator[None]:
    """Let a service's models have these tables too."""
    metadata: sa.MetaData = import_module(f"undercroft.{service}.models").metadata
    added = [sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True)) for name in names]
    try:
        yield
    finally:
        for table in added:
            metadata.remove(table)


def clone(service: Deployable, home: Path, database_url: str) -> Checkout:
    """Copy a service's migrations to where they are found as those of a package."""
    package = home / service.name
    shutil.copytree(find_migrations(service.package), package / "migrations")
    (package / "__init__.py").touch()
    versions = package / "migrations" / "versions"
    return Checkout(package=f"{home.name}.{service.name}", versions=versions, database_url=database_url)


@pytest.fixture
async def branches(
    service: Deployable, terminal: Terminal, new_database: CreateDatabase, tmp_path: Path
) -> AsyncIterator[Branches]:
    terminal.monkeypatch.syspath_prepend(str(tmp_path))
    left, right = [
        clone(service, tmp_path / f"{name}_{tmp_path.name}", await new_database())
        for name in ("left", "right")
    ]
    for checkout, name in ((left, "left_table"), (right, "right_table")):
        with tables(service.name, name):
            for arguments in (["upgrade"], ["revision", "-m", f"Add {name}"], ["upgrade"]):
                assert (await terminal.type(checkout, *arguments))[0] == 0
    (head_of_right,) = heads(right.package)
    shutil.copytree(right.versions, left.versions, dirs_exist_ok=True)
    with tables(service.name, "left_table", "right_table"):
        yield Branches(left=left, right=right, head_of_right=head_of_right)


@every_service
async def test_branches_are_refused_by_one_line_that_names_the_merge(
    service: Deployable, terminal: Terminal, branches: Branches
):
    checkout = branches.left
    line = (
        f"undercroft: {checkout.package} has several heads ({', '.join(heads(checkout.package))}); "
        f"join them with: undercroft db merge --service {service.name}\n"
    )
    for arguments in (["upgrade"], ["check"], ["revision", "-m", "Add a third"]):
        assert await terminal.type(checkout, *arguments) == (1, line)


@every_service
async def test_a_history_shows_the_branches_and_where_they_meet(terminal: Terminal, branches: Branches):
    _, forked = await terminal.type(branches.left, "history")
    assert (forked.count("(head)"), forked.count("(branchpoint)")) == (2, 1)
    await terminal.type(branches.left, "merge", "-m", "join both")
    _, joined = await terminal.type(branches.left, "history")
    assert joined.splitlines()[1].endswith("(head) (mergepoint), join both.")
    assert joined.count("(head)") == 1


@every_service
async def test_a_merge_brings_every_database_to_the_models(
    service: Deployable, terminal: Terminal, branches: Branches, new_database: CreateDatabase
):
    status, said = await terminal.type(branches.left, "merge", "-m", "join both")
    assert (status, said.startswith("wrote "), said.endswith("_join_both.py\n")) == (0, True, True)
    for url in (await new_database(), branches.left.database_url, branches.right.database_url):
        results = [
            await terminal.type(branches.left, action, url=url) for action in ("upgrade", "check", "upgrade")
        ]
        assert results == [
            (0, f"{service.name}: migrated\n"),
            (0, f"{service.name}: models and migrations agree\n"),
            (0, f"{service.name}: already up to date\n"),
        ]


@every_service
async def test_a_database_on_both_branches_goes_on_after_their_merge(
    service: Deployable, terminal: Terminal, branches: Branches
):
    checkout = branches.left
    assert (await terminal.type(checkout, "upgrade", branches.head_of_right))[0] == 0
    await terminal.type(checkout, "merge", "-m", "join both")
    assert await terminal.type(checkout, "upgrade") == (0, f"{service.name}: migrated\n")
    assert await terminal.type(checkout, "check") == (0, f"{service.name}: models and migrations agree\n")
