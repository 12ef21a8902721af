import pytest

from undercroft.gateway.openapi.merging import merge
from undercroft.gateway.openapi.security import ANY_CREDENTIALS, Document, security_of, security_schemes
from undercroft.gateway.routes_table import AuthWord, load_routes

ROUTES = load_routes({"identity", "flags"})


def document(path: str, *, schemas: Document | None = None, **operation: object) -> Document:
    described = {"operationId": "list", "responses": {"200": {"description": "Fine."}}, **operation}
    return {
        "openapi": "3.1.0",
        "paths": {path: {"get": described}},
        "components": {"schemas": schemas or {}},
    }


def merged(**documents: Document) -> Document:
    return merge(documents, ROUTES, version="1", issuer="https://id.example")


def test_paths_of_all_services_are_shown():
    result = merged(identity=document("/v1/organizations"), flags=document("/v1/flags/{flag}"))
    assert set(result["paths"]) == {"/v1/organizations", "/v1/flags/{flag}"}


def test_only_what_a_route_leads_to_is_shown():
    result = merged(
        flags=document("/internal/events"),
        identity=document("/v1/flags"),
        gateway=document("/metrics"),
    )
    assert set(result["paths"]) == {"/metrics"}


def test_methods_that_are_not_offered_are_left_out():
    own = document("/ofrep/v1/configuration")
    own["paths"]["/ofrep/v1/configuration"]["delete"] = {"responses": {}}
    own["paths"]["/ofrep/v1/configuration"]["parameters"] = []
    item = merged(flags=own)["paths"]["/ofrep/v1/configuration"]
    assert set(item) == {"get", "parameters"}


def test_equal_components_are_shared():
    schemas = {"Page": {"type": "object"}}
    result = merged(
        identity=document("/v1/organizations", schemas=schemas), flags=document("/v1/flags", schemas=schemas)
    )
    assert set(result["components"]["schemas"]) == {"Page", "Problem"}


def test_a_clashing_name_gets_its_service_in_front():
    reference = {"$ref": "#/components/schemas/Page"}
    identity = document("/v1/organizations", schemas={"Page": {"type": "object"}})
    flags = document(
        "/v1/flags",
        schemas={"Page": {"type": "array"}, "Other": reference},
        responses={"200": {"description": "x", "content": {"application/json": {"schema": reference}}}},
    )
    result = merged(identity=identity, flags=flags)
    schemas = result["components"]["schemas"]
    renamed = {"$ref": "#/components/schemas/FlagsPage"}
    assert (schemas["Page"], schemas["FlagsPage"]) == ({"type": "object"}, {"type": "array"})
    assert schemas["Other"] == renamed
    content = result["paths"]["/v1/flags"]["get"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == renamed


def test_what_refers_to_a_renamed_component_is_renamed_too():
    outer = {"properties": {"page": {"$ref": "#/components/schemas/Page"}}}
    identity = document("/v1/organizations", schemas={"Page": {"type": "object"}, "Outer": outer})
    flags = document("/v1/flags", schemas={"Page": {"type": "array"}, "Outer": outer})
    schemas = merged(identity=identity, flags=flags)["components"]["schemas"]
    assert schemas["Outer"] == outer
    assert schemas["FlagsOuter"]["properties"]["page"] == {"$ref": "#/components/schemas/FlagsPage"}


def test_discriminators_follow_a_renamed_component():
    mapping = {
        "discriminator": {"mapping": {"a": "#/components/schemas/A"}},
        "oneOf": [{"$ref": "#/components/schemas/A"}],
    }
    identity = document("/v1/organizations", schemas={"A": {"type": "object"}})
    flags = document("/v1/flags", schemas={"A": {"type": "array"}, "Choice": mapping})
    choice = merged(identity=identity, flags=flags)["components"]["schemas"]["Choice"]
    assert choice["discriminator"]["mapping"] == {"a": "#/components/schemas/FlagsA"}


def test_operation_ids_stay_unique():
    result = merged(identity=document("/v1/organizations"), flags=document("/v1/flags"))
    ids = [item["get"]["operationId"] for item in result["paths"].values()]
    assert ids == ["list", "flags_list"]


def test_security_comes_from_the_routes():
    result = merged(
        gateway=document("/v1/status"),
        flags=document("/ofrep/v1/x", tags=["ofrep"]),
        identity=document("/v1/organizations"),
    )
    assert result["security"] == ANY_CREDENTIALS
    assert ANY_CREDENTIALS[:2] == [{"bearer": []}, {"apiKey": []}]
    assert result["paths"]["/v1/status"]["get"]["security"] == []
    assert result["paths"]["/ofrep/v1/x"]["get"]["x-required-scopes"] == ["flags:evaluate"]
    assert "security" not in result["paths"]["/v1/organizations"]["get"]


def test_services_own_security_schemes_are_not_shown():
    own = document("/v1/flags")
    own["components"]["securitySchemes"] = {"principal": {}}
    assert merged(flags=own)["components"]["securitySchemes"] == security_schemes("https://id.example")


def test_tokens_are_issued_where_discovery_says():
    schemes = security_schemes("https://id.example")
    flows = schemes["oauth2"]["flows"]
    assert (
        schemes["openIdConnect"]["openIdConnectUrl"] == "https://id.example/.well-known/openid-configuration"
    )
    assert flows["authorizationCode"]["authorizationUrl"] == "https://id.example/oauth/authorize"
    assert {flow["tokenUrl"] for flow in flows.values()} == {"https://id.example/oauth/token"}
    assert "operator" not in flows["authorizationCode"]["scopes"]


@pytest.mark.parametrize(
    ("auth", "security"),
    [
        ("any", None),
        ("public", []),
        ("upstream", []),
        ("optional", [{}, *ANY_CREDENTIALS]),
        (
            frozenset({"flags:read"}),
            [
                {"bearer": []},
                {"apiKey": []},
                {"oauth2": ["flags:read"]},
                {"openIdConnect": ["flags:read"]},
                {"dpop": ["flags:read"]},
            ],
        ),
    ],
)
def test_every_word_of_the_table_is_said_in_openapi(auth: AuthWord | frozenset[str], security: object):
    assert security_of(auth) == security


def test_methods_of_one_prefix_have_their_own_security():
    own = document("/v1/sessions")
    own["paths"]["/v1/sessions"]["post"] = {"responses": {}}
    item = merged(identity=own)["paths"]["/v1/sessions"]
    assert item["post"]["security"] == []
    assert "security" not in item["get"]


def test_every_operation_tells_of_problems():
    operation = merged(flags=document("/v1/flags"))["paths"]["/v1/flags"]["get"]
    assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
    assert operation["tags"] == ["flags"]


def test_tags_are_listed_once():
    one, other = document("/v1/flags"), document("/v1/organizations")
    one["tags"] = other["tags"] = [{"name": "platform"}]
    assert merged(flags=one, identity=other)["tags"] == [{"name": "platform"}]
