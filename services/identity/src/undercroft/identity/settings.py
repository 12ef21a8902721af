"""Settings of the identity service."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from undercroft.shared.settings import DatabaseSettings, Port, Seconds
from undercroft.shared.tokens import parse_token


class IdentitySettings(DatabaseSettings):
    """Settings of `undercroft-identity`, read from IDENTITY_* variables."""

    model_config = SettingsConfigDict(env_prefix="IDENTITY_")

    service_name: str = Field("identity", description="Name in logs, telemetry, principals and cache keys.")
    port: Port = Field(8102, description="TCP port to listen on.")
    key_mode: Literal["live", "test"] = Field(
        "live", description="Second word of every API key made here: `uc_live_...` or `uc_test_...`."
    )
    operator_key: SecretStr | None = Field(
        None,
        description="An operator key that is registered at each start, for deployments that share it beforehand; "
        "`undercroft-identity operator-key --print-only` makes one.",
    )
    last_used_flush_seconds: Seconds = Field(
        5.0, description="How often the times of last use are written; a verification itself writes nothing."
    )
    max_api_keys: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1_000, description="API keys of one organization, and of the operator, at most."
    )

    @field_validator("operator_key")
    @classmethod
    def _is_well_formed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and parse_token(value.get_secret_value()) is None:
            raise ValueError("is no API key: its form or its checksum is wrong")
        return value
