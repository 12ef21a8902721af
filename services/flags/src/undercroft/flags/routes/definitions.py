"""One flag in one environment over HTTP: by rules, or as flagd defines it."""

from typing import Annotated, Final

from fastapi import APIRouter, Body

from undercroft.flags.dependencies import (
    DefinitionServiceDep,
    ExplanationServiceDep,
    FollowCommit,
    ReaderDep,
    WriterDep,
)
from undercroft.flags.schemas.explanations import ExplainRequest, Explanation
from undercroft.flags.schemas.names import JsonObject
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.preconditions import IfMatch
from undercroft.shared.serialization import JsonResponse

router = APIRouter(prefix="/v1/flags/{key}/environments", tags=["flags"], route_class=ServiceRoute)

_EXAMPLE: Final = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": {"if": [{"==": [{"var": "organization.plan"}, "pro"]}, "on", "off"]},
}
_RULES_EXAMPLE: Final = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "prerequisites": [{"flag": "new-api", "variants": ["on"]}],
    "unmetVariant": "off",
    "rules": [
        {
            "name": "beta",
            "conditions": [
                {"operator": "in_segment", "value": "beta-users"},
                {"attribute": "app.version", "operator": "version_at_least", "value": "2.1"},
                {"attribute": "country", "operator": "in", "values": ["DE", "FR"], "negate": True},
                {"operator": "after", "value": "2027-01-01T00:00:00Z"},
            ],
            "variant": "on",
        },
        {"name": "everyone", "rollout": {"percentage": 10}, "variant": "on"},
        {
            "split": {
                "variants": [{"variant": "on", "weight": 1}, {"variant": "off", "weight": 9}],
                "bucketBy": "organization.id",
            }
        },
    ],
}
DefinitionBody = Annotated[
    JsonObject,
    Body(
        description=(
            "A flagd flag definition (flagd.dev/schema/v0/flags.json), kept as it is, or one by rules. The first rule "
            "whose conditions all hold leads to its `variant`, or to that which its `split` chooses; with `rollout`, "
            "only for that share of subjects. Operators: equals, in, starts_with, ends_with, contains, exists, "
            "less_than, at_most, greater_than, at_least, version_equals, version_less_than, version_at_most, "
            "version_greater_than, version_at_least, version_same_major, version_same_minor, before, after, "
            "in_segment; each takes `value`, or `values` of which any will do, and `negate`. `before` and `after` "
            "without an attribute are about the time of the evaluation; an attribute that is a time is unix seconds, "
            "RFC 3339 in UTC, or a date."
        ),
        openapi_examples={
            "rules": {"summary": "By rules", "value": _RULES_EXAMPLE},
            "flagd": {"summary": "In flagd's language", "value": _EXAMPLE},
        },
    ),
]


@router.get("/{environment}", response_model=JsonObject)
async def get_flag_definition(
    _: ReaderDep, key: str, environment: str, definitions: DefinitionServiceDep
) -> JsonResponse:
    """Return what the flag means in the environment."""
    definition = await definitions.get(key, environment)
    return JsonResponse(definition.content, headers={"ETag": definition.etag})


@router.put("/{environment}", response_model=JsonObject, dependencies=[FollowCommit])
async def put_flag_definition(
    _: WriterDep,
    key: str,
    environment: str,
    definition: DefinitionBody,
    definitions: DefinitionServiceDep,
    if_match: IfMatch = None,
) -> JsonResponse:
    """Define the flag in the environment; without `variants`, with those of the flag."""
    stored = await definitions.put(key, environment, definition, if_match=if_match)
    return JsonResponse(stored.content, headers={"ETag": stored.etag})


@router.post("/{environment}/explain")
async def explain_flag_evaluation(
    _: ReaderDep, key: str, environment: str, request: ExplainRequest, explanations: ExplanationServiceDep
) -> Explanation:
    """Evaluate the flag and tell why: each prerequisite, rule and condition, what was found and what was hashed."""
    return await explanations.explain(key, environment, request)
