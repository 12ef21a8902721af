import io
import json
import re
from typing import Any

import pytest

from undercroft.launcher.openapi_command import write_openapi

# What generated clients call their methods. One that is missing here is new; one that is missing there is a break.
OPERATIONS = {
    "archive_flag": "DELETE /v1/flags/{key}",
    "cancel_schedule": "DELETE /v1/flags/{key}/environments/{environment}/schedules/{schedule}",
    "change_flag_states": "POST /v1/flags/bulk",
    "create_environment": "POST /v1/environments",
    "create_flag": "POST /v1/flags",
    "create_operator_api_key": "POST /v1/api-keys",
    "create_organization": "POST /v1/organizations",
    "create_organization_api_key": "POST /v1/organizations/{organization_id}/api-keys",
    "create_schedule": "POST /v1/flags/{key}/environments/{environment}/schedules",
    "create_segment": "POST /v1/segments",
    "delete_environment": "DELETE /v1/environments/{environment}",
    "delete_organization": "DELETE /v1/organizations/{organization_id}",
    "delete_segment": "DELETE /v1/segments/{key}",
    "evaluate_flag": "POST /ofrep/v1/evaluate/flags/{key}",
    "evaluate_flags": "POST /ofrep/v1/evaluate/flags",
    "explain_flag_evaluation": "POST /v1/flags/{key}/environments/{environment}/explain",
    "export_flagd_document": "GET /v1/environments/{environment}/flagd",
    "get_environment": "GET /v1/environments/{environment}",
    "get_flag": "GET /v1/flags/{key}",
    "get_flag_definition": "GET /v1/flags/{key}/environments/{environment}",
    "get_flag_usage": "GET /v1/flags/{key}/usage",
    "get_operator_api_key": "GET /v1/api-keys/{key_id}",
    "get_organization": "GET /v1/organizations/{organization_id}",
    "get_organization_api_key": "GET /v1/organizations/{organization_id}/api-keys/{key_id}",
    "get_platform_status": "GET /v1/status",
    "get_schedule": "GET /v1/flags/{key}/environments/{environment}/schedules/{schedule}",
    "get_segment": "GET /v1/segments/{key}",
    "import_flagd_document": "PUT /v1/environments/{environment}/flagd",
    "import_unleash_export": "POST /v1/import/unleash",
    "list_environments": "GET /v1/environments",
    "list_flag_changes": "GET /v1/flags/{key}/history",
    "list_flags": "GET /v1/flags",
    "list_operator_api_keys": "GET /v1/api-keys",
    "list_organization_api_keys": "GET /v1/organizations/{organization_id}/api-keys",
    "list_organizations": "GET /v1/organizations",
    "list_schedules": "GET /v1/flags/{key}/environments/{environment}/schedules",
    "list_segment_changes": "GET /v1/segments/{key}/history",
    "list_segment_uses": "GET /v1/segments/{key}/uses",
    "list_segments": "GET /v1/segments",
    "promote_definitions": "POST /v1/environments/{environment}/promotions",
    "put_flag_definition": "PUT /v1/flags/{key}/environments/{environment}",
    "restore_flag_revision": "POST /v1/flags/{key}/history/{revision}/restore",
    "restore_segment_revision": "POST /v1/segments/{key}/history/{revision}/restore",
    "revoke_operator_api_key": "DELETE /v1/api-keys/{key_id}",
    "revoke_organization_api_key": "DELETE /v1/organizations/{organization_id}/api-keys/{key_id}",
    "rotate_operator_api_key": "POST /v1/api-keys/{key_id}/rotate",
    "rotate_organization_api_key": "POST /v1/organizations/{organization_id}/api-keys/{key_id}/rotate",
    "update_environment": "PATCH /v1/environments/{environment}",
    "update_flag": "PATCH /v1/flags/{key}",
    "update_operator_api_key": "PATCH /v1/api-keys/{key_id}",
    "update_organization": "PATCH /v1/organizations/{organization_id}",
    "update_organization_api_key": "PATCH /v1/organizations/{organization_id}/api-keys/{key_id}",
    "update_segment": "PATCH /v1/segments/{key}",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    output = io.BytesIO()
    write_openapi(output)
    written: dict[str, Any] = json.loads(output.getvalue())
    return written


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def test_operation_ids_keep_their_meaning(operations: list[tuple[str, dict[str, Any]]]):
    found = {operation["operationId"]: place for place, operation in operations}
    assert {identifier: found.get(identifier) for identifier in OPERATIONS} == OPERATIONS


def test_no_two_operations_share_an_id_or_a_summary(operations: list[tuple[str, dict[str, Any]]]):
    ids = {operation["operationId"] for _, operation in operations}
    summaries = {operation["summary"] for _, operation in operations}
    assert (len(ids), len(summaries)) == (len(operations), len(operations))


def test_no_service_is_put_in_front_of_an_id(operations: list[tuple[str, dict[str, Any]]]):
    # The merge would do so where two services use the same one, and which of them depends on who answers.
    ids = [operation["operationId"] for _, operation in operations]
    assert [each for each in ids if each.startswith(("flags_", "gateway_", "identity_"))] == []


def test_schemas_have_the_names_of_classes(document: dict[str, Any]):
    names = document["components"]["schemas"]
    assert {"ApiKeyPage", "EnvironmentPage", "FlagPage", "OrganizationPage"} <= set(names)
    assert [name for name in names if not re.fullmatch("([A-Z]+[a-z]+)+", name)] == []
