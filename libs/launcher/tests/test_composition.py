import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import cast

import httpx
import pytest
from fastapi import FastAPI

from undercroft.launcher import composition
from undercroft.launcher.composition import Surroundings, load_all_settings, open_platform
from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.database_servers import EmbeddedServer, ExternalServer
from undercroft.launcher.deployables import DEPLOYABLES, GATEWAY, Deployable, find, with_database
from undercroft.launcher.derived_secrets import DerivedSecrets
from undercroft.launcher.errors import LauncherError
from undercroft.launcher.options import UpOptions
from undercroft.shared.settings import ServiceSettings, SettingsError, describe_settings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
StandIn = Callable[[str, Lifespan], Deployable]
NAMES = [each.name for each in DEPLOYABLES]
MASTER = "m" * 43


def surroundings(tmp_path: Path, **options: str) -> Surroundings:
    directory = DataDirectory(tmp_path)
    asked = UpOptions(tmp_path, host="0.0.0.0", port=8099, **options)  # type: ignore[arg-type]
    return Surroundings(asked, EmbeddedServer(directory), DerivedSecrets(MASTER, NAMES))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Make a deployable out of a lifespan."""

    def make(name: str, lifespan: Lifespan) -> Deployable:
        def create_app(settings: object, *, transport: httpx.AsyncBaseTransport) -> FastAPI:
            app = FastAPI(lifespan=lifespan)
            app.state.transport = transport

            @app.get("/name")
            async def tell() -> str:
                return name

            return app

        module = ModuleType(f"undercroft.{name}.main")
        module.create_app = create_app  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"undercroft.{name}", ModuleType(f"undercroft.{name}"))
        monkeypatch.setitem(sys.modules, f"undercroft.{name}.main", module)
        return Deployable(name, settings_class="None")

    return make


def without_settings(*names: str) -> dict[str, ServiceSettings]:
    """What applications that read no settings are built with."""
    return cast("dict[str, ServiceSettings]", dict.fromkeys(names))


def test_every_setting_of_every_deployable_is_described():
    described = [
        each for deployable in DEPLOYABLES for each in describe_settings(deployable.load_settings_class())
    ]
    assert [each.variable for each in described if not each.description.endswith(".")] == []


def test_every_deployable_is_wired_to_those_it_calls(tmp_path: Path):
    settings = load_all_settings(DEPLOYABLES, surroundings(tmp_path))

    gateway = settings[GATEWAY]
    assert (gateway.host, gateway.port, gateway.access_log) == ("0.0.0.0", 8099, True)
    assert str(gateway.identity_url).startswith("http://identity")  # type: ignore[attr-defined]
    assert not settings["flags"].access_log
    assert "flags" in settings["flags"].database_url.get_secret_value()  # type: ignore[attr-defined]


def test_identity_and_the_gateway_name_the_same_issuer(tmp_path: Path):
    listening = load_all_settings(DEPLOYABLES, surroundings(tmp_path))
    public = load_all_settings(DEPLOYABLES, surroundings(tmp_path, public_url="https://id.example"))

    names = [(each["identity"].issuer, each[GATEWAY].issuer) for each in (listening, public)]  # type: ignore[attr-defined]
    assert names == [("http://127.0.0.1:8099",) * 2, ("https://id.example",) * 2]


def test_mails_are_written_into_the_data_directory(tmp_path: Path):
    settings = load_all_settings(DEPLOYABLES, surroundings(tmp_path))

    assert settings["identity"].mail_directory == tmp_path / "mail"  # type: ignore[attr-defined]


def test_options_reach_every_deployable(tmp_path: Path):
    settings = load_all_settings(
        DEPLOYABLES, surroundings(tmp_path, log_format="json", redis_url="redis://r")
    )

    assert {each.log_format for each in settings.values()} == {"json"}
    assert {each.redis_url.get_secret_value() for each in settings.values() if each.redis_url} == {
        "redis://r"
    }


def test_a_wrong_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLAGS_DATABASE_POOL_SIZE", "many")

    with pytest.raises(SettingsError, match="FLAGS_DATABASE_POOL_SIZE"):
        load_all_settings(DEPLOYABLES, surroundings(tmp_path))


def test_a_deployable_holds_only_the_keys_of_its_own_pairs(tmp_path: Path):
    settings = load_all_settings(DEPLOYABLES, surroundings(tmp_path))

    for name, each in settings.items():
        assert all(name in pair.split("|") for pair in each.principal_keys)
    assert (
        settings["flags"].principal_keys["gateway|flags"] == settings[GATEWAY].principal_keys["gateway|flags"]
    )
    assert len({each.secret_key.get_secret_value() for each in settings.values()}) == len(settings)


def test_secrets_follow_from_the_master_alone():
    assert DerivedSecrets(MASTER, NAMES).secret_key("flags") == DerivedSecrets(MASTER, NAMES).secret_key(
        "flags"
    )
    assert DerivedSecrets(MASTER, NAMES).database_password("flags") != DerivedSecrets(
        "n" * 43, NAMES
    ).database_password("flags")


def test_an_external_database_is_given_with_a_password(tmp_path: Path):
    external = ExternalServer("postgresql://admin:x@db/platform")
    given = Surroundings(UpOptions(tmp_path), external, DerivedSecrets(MASTER, NAMES))

    url = load_all_settings(DEPLOYABLES, given)["flags"].database_url.get_secret_value()  # type: ignore[attr-defined]

    assert url == f"postgresql+asyncpg://flags:{given.secrets.database_password('flags')}@db/platform"


def test_services_are_found_by_name():
    assert find("flags") == tuple(each for each in DEPLOYABLES if each.name == "flags")
    assert find(None) == with_database()
    with pytest.raises(
        LauncherError, match="there is no service 'gateway' with a database: choose of identity, flags"
    ):
        find("gateway")


async def test_apps_are_opened_in_order_and_call_each_other_in_process(stand_in: StandIn):
    happened: list[str] = []

    def recorded(name: str) -> Lifespan:
        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            happened.append(f"{name} opens")
            if name == "second":
                async with httpx.AsyncClient(transport=app.state.transport) as client:
                    happened.append((await client.get("http://first/name")).json())
            yield
            happened.append(f"{name} closes")

        return lifespan

    deployables = [stand_in(name, recorded(name)) for name in ("first", "second")]
    async with open_platform(deployables, without_settings("first", "second")) as apps:
        assert list(apps) == ["first", "second"]

    assert happened == ["first opens", "second opens", "first", "second closes", "first closes"]


async def test_an_app_that_hangs_or_fails_does_not_keep_the_others_open(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(composition, "_LIFESPAN_EXIT_SECONDS", 0.02)
    closed: list[str] = []

    @asynccontextmanager
    async def well_behaved(app: FastAPI) -> AsyncIterator[None]:
        yield
        closed.append("first")

    @asynccontextmanager
    async def hanging(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.sleep(60)

    @asynccontextmanager
    async def failing(app: FastAPI) -> AsyncIterator[None]:
        yield
        raise ZeroDivisionError

    deployables = [stand_in("first", well_behaved), stand_in("second", hanging), stand_in("third", failing)]
    async with open_platform(deployables, without_settings("first", "second", "third")):
        pass

    assert closed == ["first"]
