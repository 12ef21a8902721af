"""Configuration from the environment: frozen, documented, refused in one line when wrong."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import to_json
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError
from typing_extensions import override

from undercroft.shared.database_urls import is_complete

SettingsT = TypeVar("SettingsT", bound="ServiceSettings")
Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=3_600)]

_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
_FILE_SUFFIX = "_FILE"
_FILE_LIMIT_BYTES = 65_536
_FIELD_IN_MESSAGE = re.compile(r'field "(\w+)"')


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one line that names the variables."""


class _SecretFiles(PydanticBaseSettingsSource):
    """Reads `NAME_FILE=/path` as the value of `NAME`, the convention of container secrets."""

    @override
    def get_field_value(self, field: object, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{self.config.get('env_prefix', '')}{field_name}".upper()
        path = os.environ.get(variable + _FILE_SUFFIX)
        if not path:
            return None, field_name, False
        try:
            with Path(path).open("rb") as file:
                content = file.read(_FILE_LIMIT_BYTES + 1)
        except OSError as error:
            raise SettingsError(
                f"{variable}{_FILE_SUFFIX}: cannot read {path} ({error.strerror}); fix the path or set {variable}"
            ) from error
        if len(content) > _FILE_LIMIT_BYTES:
            raise SettingsError(f"{variable}{_FILE_SUFFIX}: {path} exceeds {_FILE_LIMIT_BYTES} bytes")
        return content.decode("utf-8", "strict").strip(), field_name, True

    @override
    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, present = self.get_field_value(field, name)
            if present:
                found[key] = self._parse(name, field, value)
        return found

    def _parse(self, name: str, field: FieldInfo, value: str) -> Any:
        try:
            return self.prepare_field_value(name, field, value, self.field_is_complex(field))
        except ValueError as error:
            raise SourceError(f'error parsing value for field "{name}"') from error


class ServiceSettings(BaseSettings):
    """What every deployable needs to know about where and how it runs."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True, env_nested_delimiter="__"
    )

    service_name: str = Field(description="Name in logs, telemetry, principals and cache keys.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(description="TCP port to listen on.")
    stop_grace_seconds: Annotated[int, Field(ge=1, le=3_600)] = Field(
        25, description="Longest wait for requests in flight when told to stop; then they are cut."
    )
    environment: Literal["development", "production"] = Field(
        "development", description="`production` makes defaults stricter."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: colour on a terminal, one JSON object a line elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    access_log: bool = Field(default=True, description="One line for each request.")
    otlp_endpoint: str | None = Field(
        None, description="Base address of an OTLP/HTTP collector; nothing is exported without it."
    )
    secret_key: SecretStr = Field(
        min_length=32,
        description="Root of this deployable's own keys: cursors, stored answers, data at rest. 32 characters or more.",
    )
    principal_keys: dict[str, SecretStr] = Field(
        default_factory=dict,
        description='Keys of signed principals as JSON: {"<issuer>|<audience>": "<base64url of 32 bytes>"}.',
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis for limits and caches shared by replicas; in memory without it."
    )

    @field_validator("redis_url")
    @classmethod
    def _know_the_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(_REDIS_SCHEMES):
            raise ValueError("must be of the form redis://host:6379/0, rediss://... or unix://...")
        return value

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SecretFiles(settings_cls), dotenv_settings


class DatabaseSettings(ServiceSettings):
    """What a deployable with a schema of its own needs in addition."""

    database_url: SecretStr = Field(
        description="postgresql://role:password@host:5432/database of this service's own role."
    )
    database_pool_size: Annotated[int, Field(ge=1, le=200)] = Field(10, description="Connections at most.")
    database_statement_timeout_seconds: Seconds = Field(10, description="No statement runs longer.")

    @field_validator("database_url")
    @classmethod
    def _name_the_driver(cls, value: SecretStr) -> SecretStr:
        """Take the address as libpq and every provider write it, and name SQLAlchemy's driver in it."""
        url = value.get_secret_value()
        if not is_complete(url):
            raise ValueError("must be of the form postgresql://role:password@host:5432/database")
        address, mark, query = url.partition("://")[2].partition("?")
        # libpq says sslmode, SQLAlchemy with asyncpg says ssl, with the same values.
        return SecretStr(f"postgresql+asyncpg://{address}{mark}{query.replace('sslmode=', 'ssl=', 1)}")


def load_settings(settings_class: type[SettingsT], **values: object) -> SettingsT:
    """Read settings from arguments, environment, secret files and `.env`, in this order of precedence.

    Raises `SettingsError`: one line that names each wrong variable and what is wrong with it, never its value.
    """
    try:
        return settings_class(**values)  # type: ignore[arg-type]  # values come by field name from our own callers
    except SourceError as error:
        name = _FIELD_IN_MESSAGE.findall(str(error))[0]
        raise SettingsError(
            f"invalid setting: {_variable(settings_class, name)}: is not valid JSON"
        ) from None
    except ValidationError as error:
        problems = "; ".join(
            f"{_variable(settings_class, '.'.join(str(part) for part in each['loc']))}: {each['msg'].lower().removeprefix('value error, ')}"
            for each in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(f"invalid setting: {problems}") from None


class SettingDescription(NamedTuple):
    """One setting as a user meets it; `default` is as its variable would say it, None where a value is needed."""

    variable: str
    description: str
    choices: tuple[str, ...]
    default: str | None


def describe_settings(settings_class: type[ServiceSettings]) -> list[SettingDescription]:
    """Describe every setting of a class, in the order of their definition; nothing is read from anywhere."""
    return [
        SettingDescription(
            variable=_variable(settings_class, name),
            description=field.description or "",
            choices=get_args(field.annotation) if get_origin(field.annotation) is Literal else (),
            default=None
            if field.is_required()
            else _as_variable(field.get_default(call_default_factory=True)),
        )
        for name, field in settings_class.model_fields.items()
    ]


def _as_variable(value: object) -> str:
    """Write a default as a variable would; a secret one is not told."""
    if value in (None, "", (), {}):
        return "none"
    match value:
        case SecretStr():
            return "a secret"
        case bool():
            return str(value).lower()
        case tuple() | dict():
            return to_json(value).decode()
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)


def _variable(settings_class: type[ServiceSettings], name: str) -> str:
    return f"{settings_class.model_config.get('env_prefix', '')}{name}".upper()


def derive_key(secret: SecretStr, label: str, *, length: int = 32) -> bytes:
    """Derive an independent key for one purpose (HKDF-SHA256, RFC 5869, empty salt, `label` as info)."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=label.encode()).derive(
        secret.get_secret_value().encode()
    )
