"""The one list of deployables: a service joins the platform by one entry here."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from undercroft.launcher.errors import LauncherError

if TYPE_CHECKING:
    import httpx
    from fastapi import FastAPI

    from undercroft.shared.settings import ServiceSettings

IDENTITY = "identity"
GATEWAY = "gateway"


class CreateApp(Protocol):
    """`undercroft.<name>.main.create_app`."""

    def __call__(
        self, settings: "ServiceSettings", /, *, transport: "httpx.AsyncBaseTransport | None" = None
    ) -> "FastAPI":
        """Build the application; nothing is opened before its lifespan."""


@dataclass(frozen=True, slots=True)
class Deployable:
    """A deployable by its names; nothing of it is imported before it is asked for.

    `calls` are the deployables whose addresses it is given, each in the setting `<name>_url`.
    """

    name: str
    settings_class: str
    calls: tuple[str, ...] = ()
    has_database: bool = True

    @property
    def package(self) -> str:
        """The import name, where its migrations are found too."""
        return f"undercroft.{self.name}"

    def load_settings_class(self) -> "type[ServiceSettings]":
        """Import and return its settings class."""
        module = import_module(f"{self.package}.settings")
        return cast("type[ServiceSettings]", getattr(module, self.settings_class))

    def load_create_app(self) -> "CreateApp":
        """Import and return its `create_app`."""
        return cast("CreateApp", import_module(f"{self.package}.main").create_app)


# In the order of starting: who is called comes before who calls, the gateway last.
DEPLOYABLES: tuple[Deployable, ...] = (
    Deployable(IDENTITY, settings_class="IdentitySettings"),
    Deployable("flags", settings_class="FlagsSettings"),
    Deployable(GATEWAY, settings_class="GatewaySettings", calls=(IDENTITY, "flags"), has_database=False),
)


def with_database(of: tuple[Deployable, ...] = DEPLOYABLES) -> tuple[Deployable, ...]:
    """Return the deployables that have a role and a schema of their own."""
    return tuple(each for each in of if each.has_database)


def find(name: str | None) -> tuple[Deployable, ...]:
    """Return the deployable with a database of this name, all of them without one.

    Raises `LauncherError` for an unknown name.
    """
    known = with_database()
    chosen = tuple(each for each in known if name is None or each.name == name)
    if not chosen:
        raise LauncherError(
            f"there is no service {name!r} with a database: choose of {', '.join(each.name for each in known)}"
        )
    return chosen
