"""Settings of the flags service: what is bounded, and how fresh snapshots are."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from undercroft.shared.settings import DatabaseSettings, Port, Seconds


class FlagsSettings(DatabaseSettings):
    """Settings of `undercroft-flags`, read from FLAGS_* variables."""

    model_config = SettingsConfigDict(env_prefix="FLAGS_")

    service_name: str = Field("flags", description="Name in logs, telemetry, principals and cache keys.")
    port: Port = Field(8103, description="TCP port to listen on.")
    max_environments: Annotated[int, Field(ge=3, le=1_000)] = Field(
        50, description="Environments at most; every replica holds all of them in memory."
    )
    max_flags: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        20_000, description="Flags at most, archived ones included."
    )
    max_segments: Annotated[int, Field(ge=1, le=10_000)] = Field(500, description="Segments at most.")
    snapshot_poll_seconds: Seconds = Field(
        2.0, description="How often a replica looks for changes that no notification told it of."
    )
    schedule_poll_seconds: Seconds = Field(
        1.0, description="How often a replica looks for scheduled changes."
    )
    usage_flush_seconds: Seconds = Field(
        10.0, description="How often counted evaluations are stored; a crash loses what was counted since."
    )
    usage_retention_days: Annotated[int, Field(ge=1, le=400)] = Field(
        30, description="How long counted evaluations are kept."
    )
    stale_after_days: Annotated[int, Field(ge=1, le=3_650)] = Field(
        30, description="A flag that was not evaluated for so long is listed as stale."
    )
    max_streams: Annotated[int, Field(ge=1, le=100_000)] = Field(
        2_000, description="Event streams that one process has open at most."
    )
    max_streams_per_key: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1_500, description="Event streams that one key, person or client has open at most in one process."
    )
    stream_heartbeat_seconds: Annotated[float, Field(ge=0.1, le=20)] = Field(
        15.0, description="How often an idle event stream shows that it lives; the gateway waits for 30 s."
    )
    stream_life_seconds: Seconds = Field(
        1_800.0,
        description="An event stream ends after this, or up to a tenth before; its client comes back.",
    )
    stream_token_seconds: Annotated[float, Field(ge=2, le=86_400)] = Field(
        3_600.0, description="How long a stream's address opens it at most; half of it at least."
    )
    stream_inactivity_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        120,
        description="After so long in the background a page should close its stream (`inactivityDelaySec`).",
    )
