"""The example schema of `catalog/`: expand, fill in batches, contract; and what the runner promises."""

import asyncio
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from undercroft.shared import migrations
from undercroft.shared.migrations import environment, runner
from undercroft.shared.testing import autocommit_connection, power_cut

EXAMPLE = Path(__file__).parent / "catalog"
CreateDatabase = Callable[[], Awaitable[str]]


@pytest.fixture
def member(tmp_path: Path) -> Path:
    """A copy of the example as a workspace member, so that tests may add version files."""
    member = tmp_path / "services" / "catalog"
    package = member / "src" / f"example{uuid.uuid4().hex}" / "catalog"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copytree(EXAMPLE, member / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    return member


@pytest.fixture
def package(member: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(member / "src"))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    (namespace,) = (member / "src").iterdir()
    return f"{namespace.name}.catalog"


@pytest.fixture
async def url(create_database: CreateDatabase) -> str:
    return await create_database()


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url, poolclass=sa.NullPool)
    yield engine
    await engine.dispose()


@pytest.fixture
async def connection(url: str) -> AsyncIterator[AsyncConnection]:
    async with autocommit_connection(url) as connection:
        yield connection


def add_version(member: Path, revision: str, *, after: str, body: str = "pass") -> None:
    (member / "migrations" / "versions" / f"{revision}.py").write_text(
        f"from alembic import op\nrevision: str = {revision!r}\ndown_revision: str | None = {after!r}\n"
        f"def upgrade() -> None:\n    {body}\ndef downgrade() -> None:\n    pass\n"
    )


async def insert_products(connection: AsyncConnection, count: int) -> None:
    await connection.execute(
        sa.text(
            "INSERT INTO catalog.products (id, name) SELECT n, 'Deep Well' FROM generate_series(1, :n) n"
        ),
        {"n": count},
    )


async def write_revision(url: str, package: str) -> None:
    await migrations.revision(url, package, "add colour")


async def collect(results: list[bool], upgrade: Awaitable[bool]) -> None:
    results.append(await upgrade)


async def until_waiting(connection: AsyncConnection, count: int) -> None:
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    while await connection.scalar(waiting) != count:  # noqa: ASYNC110  PostgreSQL sets no event
        await asyncio.sleep(0.01)


async def test_an_empty_database_reaches_the_head_and_matches_the_models(
    package: str, url: str, connection: AsyncConnection
):
    assert await migrations.upgrade_if_behind(url, package) is True
    await migrations.check(url, package)
    assert await migrations.current_revision(connection, "catalog") == migrations.head_revision(package)


async def test_a_schema_at_head_is_left_alone_without_importing_alembic(package: str, url: str, member: Path):
    await migrations.upgrade_if_behind(url, package)
    program = (
        "import asyncio, sys\nfrom undercroft.shared.migrations import upgrade_if_behind\n"
        f"print(asyncio.run(upgrade_if_behind({url!r}, {package!r})), 'alembic' in sys.modules)"
    )
    finished = subprocess.run(  # noqa: ASYNC221  nothing else runs in this loop
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(member / 'src')!r})\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.split() == ["False", "False"]


async def test_the_version_table_lives_in_the_own_schema(package: str, url: str, connection: AsyncConnection):
    await migrations.upgrade_if_behind(url, package)
    schemas = await connection.scalars(
        sa.text("SELECT table_schema FROM information_schema.tables WHERE table_name = 'alembic_version'")
    )
    assert list(schemas) == ["catalog"]


async def test_tables_of_other_schemas_are_not_compared(package: str, url: str, connection: AsyncConnection):
    await connection.execute(sa.text("CREATE SCHEMA neighbour"))
    await connection.execute(sa.text("CREATE TABLE neighbour.things (id int)"))
    await connection.execute(sa.text("CREATE TABLE public.things (id int)"))
    await migrations.upgrade_if_behind(url, package)
    await migrations.check(url, package)


async def test_data_is_filled_in_batches(package: str, url: str, connection: AsyncConnection):
    await migrations.upgrade(url, package, "0002expand")
    await insert_products(connection, 250)
    await migrations.upgrade(url, package)
    slugs = list(await connection.scalars(sa.text("SELECT slug FROM catalog.products ORDER BY id")))
    assert slugs[0] == "deep-well-1"
    assert slugs[249] == "deep-well-250"


async def test_a_data_migration_that_was_cut_off_resumes_where_it_stopped(
    package: str, url: str, connection: AsyncConnection
):
    await migrations.upgrade(url, package, "0002expand")
    await insert_products(connection, 250)
    async with power_cut(connection, "catalog.products", at="NEW.id = 150"):
        with pytest.raises(migrations.MigrationError, match="power cut"):
            await migrations.upgrade(url, package)
    filled = await connection.scalar(sa.text("SELECT count(*) FROM catalog.products WHERE slug IS NOT NULL"))
    await migrations.upgrade(url, package)
    left = await connection.scalar(sa.text("SELECT count(*) FROM catalog.products WHERE slug IS NULL"))
    assert (filled, left) == (100, 0)


async def test_a_value_that_a_backfill_left_out_is_not_passed_over(
    package: str, url: str, connection: AsyncConnection
):
    await migrations.upgrade(url, package, "0003fill")
    await insert_products(connection, 1)
    with pytest.raises(migrations.MigrationError, match="contains null values"):
        await migrations.upgrade(url, package)
    with pytest.raises(IntegrityError, match="null value"):
        await connection.execute(sa.text("INSERT INTO catalog.products (id, name) VALUES (2, 'Well')"))
    await connection.execute(sa.text("UPDATE catalog.products SET slug = 'well'"))
    await migrations.upgrade(url, package)
    await migrations.check(url, package)


async def test_a_backfill_that_never_ends_is_stopped(
    package: str, url: str, member: Path, monkeypatch: pytest.MonkeyPatch, connection: AsyncConnection
):
    monkeypatch.setattr(environment, "_ENDLESS_BACKFILL", 3)
    await migrations.upgrade_if_behind(url, package)
    await connection.execute(sa.text("INSERT INTO catalog.products VALUES (1, 'Well', 'well')"))
    body = "from undercroft.shared.migrations import backfill; import sqlalchemy as sa; "
    body += "backfill(sa.text('UPDATE catalog.products SET name = name'))"
    add_version(member, "0005endless", after="0004contract", body=body)
    with pytest.raises(RuntimeError, match="does not end"):
        await migrations.upgrade(url, package)


async def test_down_to_the_base_and_up_again(package: str, url: str, connection: AsyncConnection):
    await migrations.upgrade_if_behind(url, package)
    await migrations.downgrade(url, package, "base")
    assert await migrations.current_revision(connection, "catalog") is None
    assert await migrations.upgrade_if_behind(url, package) is True


def add_branches(member: Path) -> None:
    for name in ("left", "right"):
        body = f"op.execute('CREATE TABLE catalog.{name}_one (id int)')"
        add_version(member, f"0005{name}", after="0004contract", body=body)


@pytest.mark.parametrize("act", [migrations.upgrade_if_behind, migrations.check, write_revision])
async def test_two_branches_are_refused(
    package: str, url: str, member: Path, act: Callable[[str, str], Awaitable[object]]
):
    add_branches(member)
    with pytest.raises(migrations.SeveralHeadsError, match=r"0005left, 0005right.*undercroft db merge"):
        await act(url, package)


def test_a_merge_leaves_one_head(package: str, member: Path):
    add_branches(member)
    (merged,) = migrations.merge(package, "join left and right")
    assert migrations.heads(package) == [migrations.head_revision(package)]
    assert merged.name.endswith("_join_left_and_right.py")


def test_a_merge_without_branches_is_refused(package: str):
    with pytest.raises(migrations.MigrationError, match="no branches to join"):
        migrations.merge(package, "join nothing")


def test_a_merge_is_written_without_unused_imports(package: str, member: Path):
    add_branches(member)
    (merged,) = migrations.merge(package, "join left and right")
    assert "import" not in merged.read_text()


async def test_a_merge_upgrades_both_branches(
    package: str, url: str, member: Path, connection: AsyncConnection
):
    add_branches(member)
    migrations.merge(package, "join left and right")
    await migrations.upgrade_if_behind(url, package)
    tables = await connection.scalars(
        sa.text("SELECT tablename FROM pg_tables WHERE tablename LIKE '%\\_one'")
    )
    assert sorted(tables) == ["left_one", "right_one"]


async def test_a_schema_on_two_branches_is_named(
    package: str, url: str, member: Path, connection: AsyncConnection
):
    add_version(member, "0005left", after="0004contract")
    add_version(member, "0005right", after="0004contract")
    await migrations.upgrade(url, package)
    with pytest.raises(migrations.MigrationError, match="several revisions"):
        await migrations.current_revision(connection, "catalog")


async def test_a_schema_on_two_branches_goes_on_after_their_merge(package: str, url: str, member: Path):
    add_version(member, "0005left", after="0004contract")
    add_version(member, "0005right", after="0004contract")
    await migrations.upgrade(url, package)
    migrations.merge(package, "join left and right")
    assert await migrations.upgrade_if_behind(url, package) is True
    assert await migrations.upgrade_if_behind(url, package) is False


async def test_a_schema_newer_than_the_code_is_refused(package: str, url: str, connection: AsyncConnection):
    await migrations.upgrade_if_behind(url, package)
    await connection.execute(sa.text("UPDATE catalog.alembic_version SET version_num = '9999future'"))
    with pytest.raises(migrations.SchemaNewerThanCodeError, match="9999future"):
        await migrations.upgrade_if_behind(url, package)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (
            "postgresql+asyncpg://catalog:hidden@/things?host=/no/such/place",
            "things at the socket in /no/such/place",
        ),
        ("postgresql+asyncpg://catalog:hidden@127.0.0.1:1/things", "things at 127.0.0.1:1"),
    ],
)
async def test_a_database_that_is_away_is_named_without_credentials(package: str, url: str, place: str):
    with pytest.raises(migrations.MigrationError) as error:
        await migrations.require_current(url, package)
    assert str(error.value).startswith(f"cannot reach the database {place} (")
    assert "hidden" not in str(error.value)


async def test_a_database_that_refuses_is_named(package: str, url: str):
    gone = sa.make_url(url).set(database="gone").render_as_string(hide_password=False)
    with pytest.raises(
        migrations.MigrationError, match=r"^the database gone at .* refused: .*does not exist"
    ):
        await migrations.require_current(gone, package)


async def test_models_without_a_migration_are_found(package: str, url: str):
    await migrations.upgrade(url, package, "0003fill")
    with pytest.raises(migrations.MigrationError, match="is behind this code; run: undercroft db upgrade"):
        await migrations.check(url, package)


async def test_a_changed_model_is_reported_with_what_to_do(
    package: str, url: str, connection: AsyncConnection
):
    await migrations.upgrade_if_behind(url, package)
    await connection.execute(sa.text("ALTER TABLE catalog.products DROP COLUMN slug"))
    with pytest.raises(migrations.ModelsDifferError, match="undercroft db revision --service catalog"):
        await migrations.check(url, package)


async def test_a_revision_is_written_from_the_difference(package: str, url: str, connection: AsyncConnection):
    await migrations.upgrade_if_behind(url, package)
    await connection.execute(sa.text("ALTER TABLE catalog.products DROP COLUMN slug"))
    (path,) = await migrations.revision(url, package, "Add slug again")
    assert path.name.endswith("_add_slug_again.py")
    assert path.name[:8].isdigit()
    assert "op.add_column" in path.read_text()


async def test_an_empty_revision_is_written_for_a_data_migration(package: str, url: str):
    await migrations.upgrade_if_behind(url, package)
    (path,) = await migrations.revision(url, package, "move prices", autogenerate=False)
    assert "pass" in path.read_text()
    assert migrations.head_revision(package) != "0004contract"


def test_history_lists_the_newest_first(package: str):
    lines = migrations.history(package).splitlines()
    assert lines[0].startswith("0003fill -> 0004contract (head)")
    assert len(lines) == 4


async def test_only_one_of_two_migrators_does_the_work(package: str, url: str, connection: AsyncConnection):
    number = runner.lock_number(package)
    results: list[bool] = []
    await connection.execute(sa.text(f"SELECT pg_advisory_lock({number})"))
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(collect(results, migrations.upgrade_if_behind(url, package)))
        await until_waiting(connection, 2)
        await connection.execute(sa.text(f"SELECT pg_advisory_unlock({number})"))
    assert sorted(results) == [False, True]


async def test_a_locked_table_makes_the_migration_give_way(
    package: str, url: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("undercroft.shared.migrations.runner._LOCK_TIMEOUT", "50ms")
    await migrations.upgrade(url, package, "0001create")
    async with engine.begin() as reader:
        await reader.execute(sa.text("SELECT * FROM catalog.products"))
        with pytest.raises(migrations.MigrationError, match="lock timeout"):
            await migrations.upgrade(url, package)


async def test_an_unreachable_database_is_one_line(package: str):
    with pytest.raises(migrations.MigrationError) as caught:
        await migrations.upgrade_if_behind("postgresql+asyncpg://nobody@127.0.0.1:1/nowhere", package)
    assert "\n" not in str(caught.value)


async def test_an_unknown_target_is_one_line(package: str, url: str):
    with pytest.raises(migrations.MigrationError, match=r"Can't locate revision.*db history lists"):
        await migrations.upgrade(url, package, "nonsense")


async def test_a_role_without_the_right_to_create_schemas_migrates_its_own(
    package: str, url: str, connection: AsyncConnection
):
    role = f"catalog_{uuid.uuid4().hex[:8]}"
    await connection.execute(sa.text(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'"))
    await connection.execute(sa.text(f"CREATE SCHEMA catalog AUTHORIZATION {role}"))
    own = sa.make_url(url).set(username=role, password="secret").render_as_string(hide_password=False)
    assert await migrations.upgrade_if_behind(own, package) is True
    await connection.execute(sa.text(f"DROP OWNED BY {role}"))
    await connection.execute(sa.text(f"DROP ROLE {role}"))


async def test_a_role_named_like_its_schema_compares_clean(
    package: str, url: str, connection: AsyncConnection
):
    await connection.execute(sa.text("CREATE ROLE catalog LOGIN PASSWORD 'secret'"))
    await connection.execute(sa.text("CREATE SCHEMA catalog AUTHORIZATION catalog"))
    own = sa.make_url(url).set(username="catalog", password="secret").render_as_string(hide_password=False)
    try:
        await migrations.upgrade_if_behind(own, package)
        await migrations.check(own, package)
        assert await migrations.upgrade_if_behind(own, package) is False
    finally:
        await connection.execute(sa.text("DROP OWNED BY catalog"))
        await connection.execute(sa.text("DROP ROLE catalog"))


def test_migrations_inside_a_wheel_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / f"wheel{uuid.uuid4().hex}" / "catalog"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copytree(EXAMPLE, package / "migrations")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert migrations.find_migrations(f"{package.parent.name}.catalog") == package / "migrations"


@pytest.mark.parametrize("package", ["undercroft.shared", "json"])
def test_a_package_without_migrations_is_an_error(package: str):
    with pytest.raises(migrations.MigrationError, match="has no migrations"):
        migrations.find_migrations(package)


def test_a_package_without_versions_has_no_head(package: str, member: Path):
    shutil.rmtree(member / "migrations" / "versions")
    assert migrations.head_revision(package) is None


def test_a_python_file_that_is_no_version_is_passed_over(package: str, member: Path):
    (member / "migrations" / "versions" / "notes.py").write_text("import os\nCOUNT: int = 1\n")
    assert migrations.head_revision(package) == "0004contract"


async def test_the_environment_does_not_run_without_the_runner(package: str):
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations.find_migrations(package)))
    with pytest.raises(RuntimeError, match="undercroft db"):
        command.current(config)
