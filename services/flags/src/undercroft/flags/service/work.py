"""What every use case that changes something works with."""

from dataclasses import dataclass

from undercroft.flags.repository.changes import ChangeRepository
from undercroft.flags.repository.definitions import DefinitionRepository
from undercroft.flags.repository.environments import EnvironmentRepository
from undercroft.flags.repository.events import EventRepository
from undercroft.flags.repository.flags import FlagRepository
from undercroft.flags.repository.schedules import ScheduleRepository
from undercroft.flags.repository.segments import SegmentRepository
from undercroft.flags.repository.usage import UsageRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """The repositories of one transaction."""

    environments: EnvironmentRepository
    flags: FlagRepository
    definitions: DefinitionRepository
    segments: SegmentRepository
    changes: ChangeRepository
    schedules: ScheduleRepository
    usage: UsageRepository
    events: EventRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much there may be."""

    max_environments: int
    max_flags: int
    max_segments: int
