"""Settings of the identity service."""

from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from undercroft.shared.settings import DatabaseSettings, Port, Seconds
from undercroft.shared.tokens import parse_token

Days = Annotated[int, Field(ge=1, le=3_650)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]

_SMTP_SCHEMES = ("smtp", "smtp+starttls", "smtps")


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

    issuer: str = Field(
        "http://127.0.0.1:8080",
        description="Public address of the platform, where people's browsers and clients find it; no slash at the end.",
    )
    branding_name: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        "Undercroft", description="What pages and mails call the product."
    )
    sign_up: Literal["open", "closed"] = Field(
        "open", description="`closed`: nobody registers without an invitation."
    )
    organization_creation: Literal["open", "closed"] = Field(
        "open", description="`closed`: only the operator creates organizations."
    )

    password_min_length: Annotated[int, Field(ge=10, le=128)] = Field(
        10, description="Characters of a password at least."
    )
    argon2_memory_kib: Annotated[int, Field(ge=8, le=4_194_304)] = Field(
        47_104, description="Memory of one hash; the default is the first choice of OWASP's cheat sheet."
    )
    argon2_iterations: Annotated[int, Field(ge=1, le=1_000)] = Field(
        1, description="Passes over that memory."
    )
    argon2_parallelism: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Lanes of one hash.")
    hashing_concurrency: Annotated[int, Field(ge=1, le=256)] = Field(
        2,
        description="Passwords hashed at once; times ARGON2_MEMORY_KIB, this is all the memory that hashing takes.",
    )
    hashing_queue: Annotated[int, Field(ge=0, le=100_000)] = Field(
        200, description="Sign-ins that wait for a hash; more are answered 503 at once."
    )
    hashing_wait_seconds: Seconds = Field(
        10.0, description="A sign-in waits no longer; then it is answered 503."
    )

    session_life_days: Days = Field(30, description="A device is signed out then, whatever it does.")
    session_idle_days: Days = Field(
        14, description="A device is signed out when it was not seen for so long."
    )
    recent_sign_in_seconds: Seconds = Field(
        900, description="How long after signing in one may add factors and delete the account."
    )
    registration_life_hours: Annotated[int, Field(ge=1, le=720)] = Field(
        24, description="How long the link of a verification mail works."
    )
    password_reset_life_seconds: Seconds = Field(
        1_800, description="How long the link of a reset mail works."
    )
    invitation_life_days: Days = Field(7, description="How long an invitation can be accepted.")
    max_invitations: Count = Field(200, description="Open invitations of one organization at most.")
    max_passkeys: Count = Field(20, description="Passkeys of one person at most.")

    free_attempts_per_account: Count = Field(
        10,
        description="Wrong passwords or codes for one account, or one known device, before attempts must wait.",
    )
    free_attempts_per_address: Count = Field(
        100,
        description="Wrong passwords, registrations and mails asked for from one address before these must wait.",
    )
    attempt_window_seconds: Seconds = Field(
        900, description="After so long, attempts are counted from none again."
    )
    attempt_longest_wait_seconds: Seconds = Field(300, description="Waits double up to this.")

    smtp_url: SecretStr | None = Field(
        None,
        description="`smtps://user:password@host:465`, `smtp+starttls://...:587` or, without encryption, `smtp://...`.",
    )
    mail_directory: Path | None = Field(
        None, description="Without SMTP_URL, mails are written here as .eml files."
    )
    mail_from: str = Field("Undercroft <no-reply@localhost>", description="Sender of every mail.")
    mail_life_hours: Annotated[int, Field(ge=1, le=168)] = Field(
        24, description="A mail that could not be handed over for so long is given up."
    )

    resources: tuple[str, ...] = Field(
        (),
        description='Audiences besides ISSUER that clients may ask for (RFC 8707), as JSON: ["https://api.example.com"].',
    )
    access_token_seconds: Annotated[int, Field(ge=60, le=3_600)] = Field(
        600, description="Life of an access token."
    )
    id_token_seconds: Annotated[int, Field(ge=60, le=3_600)] = Field(
        3_600, description="Life of an ID token."
    )
    refresh_token_idle_days: Days = Field(
        30, description="A refresh token ends when it was not used for so long."
    )
    grant_life_days: Days = Field(
        365, description="After so long a client has to ask again, however often it refreshed."
    )
    refresh_token_grace_seconds: Annotated[int, Field(ge=0, le=60)] = Field(
        10,
        description="How long a used refresh token still returns its successor, for whoever lost the answer.",
    )
    authorization_code_seconds: Annotated[int, Field(ge=10, le=600)] = Field(
        60, description="Life of an authorization code."
    )
    pushed_request_seconds: Annotated[int, Field(ge=10, le=3_600)] = Field(
        90, description="Life of a pushed authorization request; longer while somebody signs in for it."
    )
    device_code_seconds: Annotated[int, Field(ge=60, le=3_600)] = Field(
        600, description="How long a device waits for somebody to enter its code."
    )
    device_interval_seconds: Annotated[int, Field(ge=1, le=60)] = Field(
        5, description="How long a device waits between two polls."
    )
    dpop_nonce_required: bool = Field(
        default=False,
        description="Whether DPoP proofs must carry a nonce of this server (RFC 9449 section 8).",
    )
    signing_key_days: Annotated[int, Field(ge=1, le=365)] = Field(
        30, description="A signing key is replaced after so long."
    )
    signing_key_overlap_seconds: Annotated[int, Field(ge=300, le=86_400)] = Field(
        900, description="How long a new key is published before it signs."
    )
    max_oauth_clients: Count = Field(
        1_000, description="OAuth clients of one organization, and of the operator, at most."
    )

    @field_validator("issuer")
    @classmethod
    def _is_an_origin(cls, value: str) -> str:
        parts = urlsplit(value)
        is_origin = parts.scheme in {"http", "https"} and parts.hostname and not parts.username
        if not is_origin or value.endswith("/") or parts.path or parts.query or parts.fragment:
            raise ValueError("must be of the form https://host or https://host:port")
        return value

    @field_validator("resources")
    @classmethod
    def _are_absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            parts = urlsplit(each)
            if not parts.scheme or not (parts.netloc or parts.path) or parts.fragment:
                raise ValueError("must be absolute URIs without a fragment")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _names_a_mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = urlsplit(value.get_secret_value())
            if parts.scheme not in _SMTP_SCHEMES or not parts.hostname:
                raise ValueError(
                    "must be of the form smtps://user:password@host:465, smtp+starttls:// or smtp://"
                )
        return value

    @field_validator("mail_from")
    @classmethod
    def _is_a_sender(cls, value: str) -> str:
        if "@" not in parseaddr(value)[1] or any(character in value for character in "\r\n"):
            raise ValueError("must be of the form Name <name@example.org>")
        return value

    @model_validator(mode="after")
    def _lanes_fit_the_memory(self) -> Self:
        # RFC 9106 section 3.1: at least eight blocks of 1 KiB for each lane.
        if self.argon2_memory_kib < 8 * self.argon2_parallelism:
            raise ValueError("argon2_memory_kib must be at least 8 times argon2_parallelism")
        return self

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the platform by https, which is when cookies can be bound to this host."""
        return self.issuer.startswith("https://")

    @field_validator("operator_key")
    @classmethod
    def _is_well_formed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and parse_token(value.get_secret_value()) is None:
            raise ValueError("is no API key: its form or its checksum is wrong")
        return value
