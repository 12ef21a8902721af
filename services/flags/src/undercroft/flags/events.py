"""Events that the flags service publishes. `flag.*` and `segment.*` are about one, `environment.changed` about what is evaluated."""

from typing import Literal, TypeAlias
from uuid import UUID

from undercroft.flags.schemas.names import JsonObject
from undercroft.shared.events import Event
from undercroft.shared.ids import TypeId

SegmentHappening: TypeAlias = Literal["created", "updated", "deleted"]
FlagHappening: TypeAlias = Literal["created", "updated", "archived"]
EnvironmentChange: TypeAlias = Literal["created", "updated", "deleted", "flags"]


def flag_event(
    happening: FlagHappening, flag_id: UUID, key: str, *, actor: str, environment: str | None = None
) -> Event:
    """Tell that a flag was created, updated or archived; with `environment`, only there."""
    about: JsonObject = {"key": key}
    if environment is not None:
        about["environment"] = environment
    return Event(
        type=f"dev.undercroft.flag.{happening}", subject=str(TypeId("flg", flag_id)), data=about, actor=actor
    )


def environment_changed(
    change: EnvironmentChange, environment_id: UUID, key: str, *, version: int, actor: str
) -> Event:
    """Tell that an environment, or (`flags`) what is evaluated in it, is another; `version` is that after it."""
    about: JsonObject = {"key": key, "change": change, "version": version}
    return Event(
        type="dev.undercroft.environment.changed",
        subject=str(TypeId("env", environment_id)),
        data=about,
        actor=actor,
    )


def segment_event(happening: SegmentHappening, segment_id: UUID, key: str, *, actor: str) -> Event:
    """Tell that a segment was created, changed or deleted, in all environments at once."""
    return Event(
        type=f"dev.undercroft.segment.{happening}",
        subject=str(TypeId("seg", segment_id)),
        data={"key": key},
        actor=actor,
    )
