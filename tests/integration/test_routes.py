"""Every public operation of every service is reachable through the gateway, with the credentials that it needs."""

import re

import pytest
from fastapi.routing import APIRoute

from undercroft.gateway.routes_table import load_routes
from undercroft.launcher.deployables import DEPLOYABLES, GATEWAY
from undercroft.shared.app import iter_routes
from undercroft.shared.auth import is_public
from undercroft.shared.command import placeholder_settings

SERVICES = [each for each in DEPLOYABLES if each.name != GATEWAY]
ROUTES = load_routes([each.name for each in SERVICES])
# What every deployable answers for itself, and what only other deployables ask.
OWN = re.compile(r"/(?:internal/.*|healthz|readyz|livez|metrics|openapi\.json|docs.*)")


def operations() -> list[tuple[str, str, APIRoute]]:
    return [
        (service.name, method, route)
        for service in SERVICES
        for route in iter_routes(
            service.load_create_app()(placeholder_settings(service.load_settings_class()))
        )
        for method in sorted(route.methods or ())
        if not OWN.fullmatch(route.path)
    ]


OPERATIONS = operations()


@pytest.mark.parametrize(
    ("service", "method", "route"),
    OPERATIONS,
    ids=[f"{method} {route.path}" for _, method, route in OPERATIONS],
)
def test_an_operation_is_reachable(service: str, method: str, route: APIRoute) -> None:
    place = ROUTES.find(re.sub(r"\{[^}]*\}", "x", route.path))
    assert place is not None
    assert method in place.by_method, f"only {place.allow} below {place.prefix}"
    found = place.by_method[method].route
    assert found.upstream == service
    # A public operation asks nobody for credentials; any other one needs the caller's name from the gateway.
    if found.auth != "upstream":
        assert (found.auth in ("public", "optional")) is is_public(route.endpoint)


@pytest.mark.parametrize("path", ["/internal/access", "/internal/events", "/internal/api-keys/verify"])
def test_what_services_ask_each_other_is_reachable_for_nobody(path: str) -> None:
    assert ROUTES.find(path) is None
