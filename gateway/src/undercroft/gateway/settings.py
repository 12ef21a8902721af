"""What the gateway needs to know: where the services are, and its bounds."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import AnyHttpUrl, Field
from pydantic_settings import SettingsConfigDict

from undercroft.shared.settings import Port, Seconds, ServiceSettings

Network = IPv4Network | IPv6Network


class GatewaySettings(ServiceSettings):
    """Settings of the gateway, read from GATEWAY_... variables."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    service_name: str = Field("gateway", description="Name in logs, telemetry, principals and cache keys.")
    port: Port = Field(8080, description="TCP port to listen on.")
    identity_url: AnyHttpUrl = Field(
        AnyHttpUrl("http://identity:8000"), description="Where identity answers."
    )
    flags_url: AnyHttpUrl = Field(AnyHttpUrl("http://flags:8000"), description="Where flags answers.")
    trusted_proxies: tuple[Network, ...] = Field(
        (),
        description="Networks of proxies in front whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.",
    )
    cors_origins: tuple[str, ...] = Field(
        ("*",), description="Origins whose browsers may call; credentials are headers, never cookies."
    )
    credential_cache_size: Annotated[int, Field(ge=100, le=10_000_000)] = Field(
        100_000, description="Verified keys remembered at most."
    )
    credential_fresh_seconds: Seconds = Field(
        60, description="A verified key is asked about again after this."
    )
    credential_stale_seconds: Seconds = Field(
        600, description="A verified key keeps working this long while identity is away."
    )
    credential_wait_seconds: Seconds = Field(2, description="Longest wait for identity's answer about a key.")
    limit_subjects: Annotated[int, Field(ge=100, le=10_000_000)] = Field(
        100_000, description="Callers counted at the same time at most."
    )
    upstream_connections: Annotated[int, Field(ge=1, le=10_000)] = Field(
        512, description="Connections to all services at most."
    )
    body_read_seconds: Seconds = Field(30, description="Longest wait for the next part of a request's body.")

    def upstream_urls(self) -> dict[str, str]:
        """Return where each upstream of the routes answers, by name."""
        return {"identity": str(self.identity_url), "flags": str(self.flags_url)}
