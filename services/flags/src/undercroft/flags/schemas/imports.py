"""Wire models of imports from other products."""

from pydantic import Field

from undercroft.shared.serialization import WireModel


class ImportNote(WireModel):
    """Something that is not exactly as it was."""

    subject: str = Field(description="The feature, or the segment.")
    detail: str
    converted: bool = Field(description="False for what was left out: nobody is let in by mistake.")


class ImportReport(WireModel):
    """What an import made, or would make."""

    applied: bool
    environment: str
    flags_created: list[str]
    flags_updated: list[str]
    segments: list[str]
    notes: list[ImportNote]
