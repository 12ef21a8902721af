"""Who may do what: without a principal, with another scope, from an organization."""

from collections.abc import Mapping

import httpx
import pytest
from fastapi import FastAPI
from services.flags.tests.factories import ORGANIZATION, caller

from undercroft.shared.app import iter_routes
from undercroft.shared.auth import PRINCIPAL_HEADER
from undercroft.shared.testing import service_headers, unguarded_routes

READS = [
    ("GET", "/v1/environments"),
    ("GET", "/v1/environments/production"),
    ("GET", "/v1/environments/production/flagd"),
    ("GET", "/v1/flags"),
    ("GET", "/v1/flags/new-checkout"),
    ("GET", "/v1/flags/new-checkout/environments/production"),
    ("POST", "/v1/flags/new-checkout/environments/production/explain"),
    ("GET", "/v1/flags/new-checkout/environments/production/schedules"),
    ("GET", "/v1/flags/new-checkout/environments/production/schedules/sch_01h455vb4pex5vsknk084sn02q"),
    ("GET", "/v1/flags/new-checkout/history"),
    ("GET", "/v1/flags/new-checkout/usage"),
    ("GET", "/v1/segments"),
    ("GET", "/v1/segments/beta"),
    ("GET", "/v1/segments/beta/uses"),
    ("GET", "/v1/segments/beta/history"),
]
WRITES = [
    ("POST", "/v1/environments"),
    ("PATCH", "/v1/environments/staging"),
    ("DELETE", "/v1/environments/staging"),
    ("PUT", "/v1/environments/production/flagd"),
    ("POST", "/v1/flags"),
    ("PATCH", "/v1/flags/new-checkout"),
    ("DELETE", "/v1/flags/new-checkout"),
    ("PUT", "/v1/flags/new-checkout/environments/production"),
    ("POST", "/v1/environments/production/promotions"),
    ("POST", "/v1/flags/bulk"),
    ("POST", "/v1/flags/new-checkout/history/1/restore"),
    ("POST", "/v1/flags/new-checkout/environments/production/schedules"),
    ("DELETE", "/v1/flags/new-checkout/environments/production/schedules/sch_01h455vb4pex5vsknk084sn02q"),
    ("POST", "/v1/segments"),
    ("PATCH", "/v1/segments/beta"),
    ("DELETE", "/v1/segments/beta"),
    ("POST", "/v1/segments/beta/history/1/restore"),
    ("POST", "/v1/import/unleash"),
]
EVALUATIONS = [
    ("POST", "/ofrep/v1/evaluate/flags"),
    ("POST", "/ofrep/v1/evaluate/flags/"),
    ("POST", "/ofrep/v1/evaluate/flags/new-checkout"),
    ("GET", "/ofrep/v1/events"),
]
BODIES = {
    "POST": {"key": "new-checkout", "type": "boolean"},
    "PATCH": {"description": ""},
    "PUT": {"flags": {}},
}


async def call(
    client: httpx.AsyncClient, method: str, path: str, headers: Mapping[str, str]
) -> httpx.Response:
    body = {"key": "new"} if path == "/v1/environments" else BODIES.get(method)
    return await client.request(method, path, json=body, headers=headers)


def test_every_route_demands_something_or_is_public(app: FastAPI):
    assert unguarded_routes(app) == []


def test_every_route_of_the_service_is_among_those_tested_here(app: FastAPI):
    tested = READS + WRITES + EVALUATIONS
    public = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/internal/events"}
    missed = [
        (method, route.path)
        for route in iter_routes(app)
        for method in sorted(route.methods or ())
        if method != "HEAD" and route.path not in public
        if not any(method == verb and route.path_regex.match(path) for verb, path in tested)
    ]
    assert missed == []


@pytest.mark.parametrize(("method", "path"), READS + WRITES + EVALUATIONS + [("GET", "/internal/events")])
async def test_a_caller_without_a_principal_is_unauthenticated(
    client: httpx.AsyncClient, method: str, path: str
):
    del client.headers[PRINCIPAL_HEADER]
    refused = await call(client, method, path, {})
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), READS + WRITES + EVALUATIONS)
async def test_another_scope_is_not_enough(client: httpx.AsyncClient, method: str, path: str):
    others = {"flags:read", "flags:write", "flags:evaluate", "identity:write"}
    needed = "flags:read" if (method, path) in READS else "flags:write"
    needed = "flags:evaluate" if (method, path) in EVALUATIONS else needed
    refused = await call(client, method, path, caller(*others - {needed}))
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")


@pytest.mark.parametrize(("method", "path"), READS + WRITES)
async def test_an_organizations_key_finds_nothing_to_manage(
    client: httpx.AsyncClient, method: str, path: str
):
    key = caller("flags:read", "flags:write", organization_id=ORGANIZATION)
    missing = await call(client, method, path, key)
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_an_operators_key_with_the_scope_may_manage(client: httpx.AsyncClient):
    assert (await client.get("/v1/flags", headers=caller("flags:read"))).status_code == 200
    created = await call(client, "POST", "/v1/flags", caller("flags:write"))
    assert created.status_code == 201


async def test_the_feed_is_for_other_services_only(client: httpx.AsyncClient, app: FastAPI):
    assert (await client.get("/internal/events")).status_code == 404
    manage = await client.get("/v1/flags", headers=service_headers("identity", audience="flags"))
    assert (manage.status_code, manage.json()["code"]) == (403, "insufficient_scope")
