"""What the gateway needs to know: where the services are, and its bounds."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl, Field, field_validator
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
    issuer: str = Field(
        "http://127.0.0.1:8080",
        description="The address that the platform is reached at from outside, and the issuer of its access tokens: "
        "exactly identity's `issuer`.",
    )
    resources: tuple[str, ...] = Field(
        (), description="Further audiences of access tokens that are accepted, and addresses of DPoP proofs."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (),
        description="Networks of proxies in front whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.",
    )
    cors_origins: tuple[str, ...] = Field(
        ("*",), description="Origins whose browsers may call; credentials are headers, never cookies."
    )
    credential_cache_size: Annotated[int, Field(ge=100, le=10_000_000)] = Field(
        100_000, description="Verified keys and tokens remembered at most."
    )
    credential_fresh_seconds: Seconds = Field(
        60, description="A verified key or token is asked about again after this."
    )
    credential_stale_seconds: Seconds = Field(
        600, description="A verified key or token keeps working this long while identity is away."
    )
    credential_wait_seconds: Seconds = Field(
        2, description="Longest wait for identity's answer about a key or token."
    )
    dpop_proofs: Annotated[int, Field(ge=100, le=10_000_000)] = Field(
        100_000, description="Proofs of possession remembered at most, so that each is used once."
    )
    limit_subjects: Annotated[int, Field(ge=100, le=10_000_000)] = Field(
        100_000, description="Callers counted at the same time at most."
    )
    upstream_connections: Annotated[int, Field(ge=1, le=10_000)] = Field(
        512, description="Connections to all services at most."
    )
    streams: Annotated[int, Field(ge=1, le=100_000)] = Field(
        2_000, description="Event streams open at the same time at most, on connections of their own."
    )
    body_read_seconds: Seconds = Field(30, description="Longest wait for the next part of a request's body.")

    @field_validator("issuer")
    @classmethod
    def _is_an_origin(cls, value: str) -> str:
        """Tokens name it character for character, so nothing that could be written in two ways is taken."""
        parts = urlsplit(value)
        if (
            parts.scheme not in {"http", "https"}
            or value != f"{parts.scheme}://{parts.netloc}"
            or not parts.hostname
        ):
            raise ValueError("must be of the form https://host or https://host:port")
        return value

    def upstream_urls(self) -> dict[str, str]:
        """Return where each upstream of the routes answers, by name."""
        return {"identity": str(self.identity_url), "flags": str(self.flags_url)}
