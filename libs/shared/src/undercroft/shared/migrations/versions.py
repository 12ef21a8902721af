"""The version files of a package and the revision of a schema, read without Alembic."""

import ast
import importlib.util
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from undercroft.shared.migrations.errors import MigrationError, SeveralHeadsError


def schema_of(package: str) -> str:
    """Return the schema of a package: one name, eight places."""
    return package.rpartition(".")[2]


def find_migrations(package: str) -> Path:
    """Return the directory of a package's migrations: inside it (a wheel) or at its member's top (the workspace)."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(location)
        places = [root / "migrations"]
        if root.parents[1].name == "src":
            places.append(root.parents[2] / "migrations")
        for directory in places:
            if (directory / "env.py").is_file():
                return directory
    raise MigrationError(f"{package} has no migrations")


def read_revisions(package: str) -> dict[str, tuple[str, ...]]:
    """Parse the version files into {revision: the revisions it follows}."""
    revisions: dict[str, tuple[str, ...]] = {}
    for path in sorted((find_migrations(package) / "versions").glob("*.py")):
        names = _literals(path.read_text(encoding="utf-8"))
        if "revision" in names:
            follows = names.get("down_revision") or ()
            revisions[names["revision"]] = (follows,) if isinstance(follows, str) else tuple(follows)
    return revisions


def _literals(source: str) -> dict[str, Any]:  # a version file may assign anything
    found: dict[str, Any] = {}
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        if name in {"revision", "down_revision"}:
            found[name] = ast.literal_eval(value)
    return found


def heads(package: str) -> list[str]:
    """Return every revision that nothing follows; more than one needs a merge."""
    revisions = read_revisions(package)
    followed = {each for follows in revisions.values() for each in follows}
    return sorted(set(revisions) - followed)


def head_revision(package: str) -> str | None:
    """Return the newest revision of the code, None without any; raises `SeveralHeadsError`."""
    found = heads(package)
    if len(found) > 1:
        raise SeveralHeadsError(
            f"{package} has several heads ({', '.join(found)}); join them with: "
            f"undercroft db merge --service {schema_of(package)}"
        )
    return found[0] if found else None


async def current_revision(connection: AsyncConnection, schema: str) -> str | None:
    """Return the revision of a schema in the database, None when it was never migrated.

    Raises `MigrationError` when it stands on several.
    """
    found = await current_revisions(connection, schema)
    if len(found) > 1:
        raise MigrationError(
            f"schema {schema} stands on several revisions ({', '.join(found)}); merge the branches"
        )
    return found[0] if found else None


async def current_revisions(connection: AsyncConnection, schema: str) -> list[str]:
    """Return the revisions of a schema in the database: several when branches were migrated and not yet merged."""
    table = connection.dialect.identifier_preparer.quote(schema) + ".alembic_version"
    if await connection.scalar(text("SELECT to_regclass(:name)::text"), {"name": table}) is None:
        return []
    statement = text(f"SELECT version_num FROM {table} ORDER BY 1")  # noqa: S608  the name is quoted
    return list(await connection.scalars(statement))
