"""Use case: flags and segments from an Unleash export, by the same way as those that people write."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, cast

from undercroft.flags.domain.unleash import Converted, ImportedFlag, convert, environments_in
from undercroft.flags.errors import DefinitionInvalidError, ExportUnreadableError
from undercroft.flags.models import Flag
from undercroft.flags.repository.changes import Author
from undercroft.flags.schemas.flags import FlagCreate
from undercroft.flags.schemas.imports import ImportNote, ImportReport
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.schemas.segments import SegmentCreate, SegmentUpdate
from undercroft.flags.service.environments import DEFAULT_ENVIRONMENT
from undercroft.flags.service.flags import FlagService
from undercroft.flags.service.segments import SegmentService
from undercroft.flags.service.work import Limits, Repositories
from undercroft.flags.service.writing import DefinitionWriter, Wanted
from undercroft.shared.errors import ConflictError, FieldProblem

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-_.]{0,127}")


class UnleashImportService:
    """Imports in the name of an author."""

    def __init__(self, repositories: Repositories, *, author: Author, limits: Limits) -> None:
        importing = replace(author, origin="import")
        self._repositories = repositories
        self._flags = FlagService(repositories, author=importing, limits=limits)
        self._segments = SegmentService(repositories, author=importing, limits=limits)
        self._writer = DefinitionWriter(repositories, importing)

    async def run(
        self,
        export: JsonObject,
        *,
        environment_key: str | None,
        from_environment: str | None,
        is_preview: bool,
    ) -> ImportReport:
        """Import one of the export's environments into one of ours, flag by flag; a flag that fails is noted.

        Raises `ExportUnreadableError` for what is no export, or one of several environments of which none is named.
        """
        origin = _origin(export, from_environment)
        target = environment_key or origin or DEFAULT_ENVIRONMENT
        environments = {each.key: each for each in await self._repositories.environments.lock_all()}
        if target not in environments:
            await self._repositories.environments.get(target)
        converted = convert(export, origin)
        created: list[str] = []
        updated: list[str] = []
        async with (
            self._repositories.schedules.attempt()
            if not is_preview
            else (self._repositories.schedules.rehearse())
        ):
            await self._import_segments(converted)
            for imported in _in_order(converted):
                known = await self._repositories.flags.archived_among([imported.key])
                if await self._import_flag(imported, target, converted):
                    (updated if imported.key in known else created).append(imported.key)
        return ImportReport(
            applied=not is_preview,
            environment=target,
            flags_created=created,
            flags_updated=updated,
            segments=list(converted.segments),
            notes=[
                ImportNote(subject=note.subject, detail=note.detail, converted=note.is_converted)
                for note in converted.notes
            ],
        )

    async def _import_segments(self, converted: Converted) -> None:
        stored = await self._repositories.segments.all()
        for key, conditions in converted.segments.items():
            given = cast("list[object]", conditions)
            if key in stored:
                change = SegmentUpdate.model_validate({"conditions": given})
                await self._segments.update(key, change, if_match=None)
            else:
                await self._segments.create(SegmentCreate.model_validate({"key": key, "conditions": given}))

    async def _import_flag(self, imported: ImportedFlag, target: str, converted: Converted) -> bool:
        if not _KEY.fullmatch(imported.key):
            converted.note(imported.key, "its name is no key here", is_converted=False)
            return False
        try:
            async with self._repositories.schedules.attempt():
                flag = await self._flag(imported)
                environment = await self._repositories.environments.get_locked(target)
                source = cast("JsonObject", imported.source)
                await self._writer.write(environment, [Wanted(flag, source)])
        except DefinitionInvalidError as error:
            for problem in error.problems:
                converted.note(imported.key, f"{problem.pointer}: {problem.detail}", is_converted=False)
            return False
        except ConflictError as error:
            converted.note(imported.key, error.detail, is_converted=False)
            return False
        return True

    async def _flag(self, imported: ImportedFlag) -> Flag:
        """Return the flag, created when there is none; what is known of one that exists stays."""
        known = await self._repositories.flags.archived_among([imported.key])
        if imported.key not in known:
            new: Mapping[str, object] = {
                "key": imported.key,
                "type": imported.type,
                "description": imported.description[:4_000],
                "tags": imported.tags[:50],
                "variants": imported.source["variants"],
                "expires_at": datetime.now(UTC) if imported.is_stale else None,
            }
            return await self._flags.create(
                FlagCreate.model_validate({**new, "tags": list(imported.tags[:50])})
            )
        if known[imported.key]:
            raise ConflictError("there is an archived flag of this key")
        return await self._repositories.flags.get_locked(imported.key, is_shared=True)


def _origin(export: JsonObject, wanted: str | None) -> str | None:
    if not isinstance(export.get("features"), list):
        raise _unreadable("#/features", "an export of Unleash has a list of features")
    known = environments_in(export)
    if wanted is not None:
        if known and wanted not in known:
            raise _unreadable("#/featureEnvironments", f"the export has the environments {', '.join(known)}")
        return wanted if known else None
    if len(known) > 1:
        raise _unreadable("#/featureEnvironments", f"choose one with `from`: {', '.join(known)}")
    return known[0] if known else None


def _unreadable(pointer: str, detail: str) -> ExportUnreadableError:
    return ExportUnreadableError(detail, problems=[FieldProblem(pointer, detail, "export_unreadable")])


def _in_order(converted: Converted) -> list[ImportedFlag]:
    """Order flags so that parents come before their children, as far as there is such an order."""
    by_key = {flag.key: flag for flag in converted.flags}
    ordered: dict[str, ImportedFlag] = {}

    def visit(flag: ImportedFlag, path: tuple[str, ...]) -> None:
        if flag.key in ordered or flag.key in path:
            return
        given = flag.source.get("prerequisites")
        for parent in given if isinstance(given, list) else ():
            if parent["flag"] in by_key:
                visit(by_key[parent["flag"]], (*path, flag.key))
        ordered[flag.key] = flag

    for flag in converted.flags:
        visit(flag, ())
    return list(ordered.values())
