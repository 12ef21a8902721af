"""What is exported means to flagd's own evaluator what the service answers, and comes back byte for byte."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from services.flags.tests.factories import by_rules, condition, definition, document, targeted

DOCUMENT = "/v1/environments/production/flagd"
SPLIT = {"split": {"variants": [{"variant": "on", "weight": 30}, {"variant": "off", "weight": 70}]}}
CONTEXTS: list[dict[str, Any]] = [
    {"targetingKey": f"user-{number}", "plan": plan, "version": f"2.{number % 3}.0", "seats": number}
    for number, plan in enumerate(["free", "team", "pro", "team", "pro", "free", "team", "pro"])
]


@pytest.fixture
async def exported(app: FastAPI, client: httpx.AsyncClient) -> bytes:
    """A document of flags that were written in every way there is."""
    app.state.settings = app.state.settings.model_copy(update={"max_flags": 10})
    plain = {
        "static": definition(metadata={"team": "a", "weight": 1.0}),
        "disabled": definition(state="DISABLED"),
        "without-default": {
            **targeted({"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]}),
            "defaultVariant": None,
        },
        "versioned": targeted({"if": [{"sem_ver": [{"var": "version"}, ">=", "2.1.0"]}, "on", "off"]}),
        "split": targeted({"fractional": [["on", 25], ["off", 75]]}),
        "shared": targeted({"if": [{"$ref": "is_team"}, "on"]}),
    }
    given = {
        "flags": plain,
        "$evaluators": {"is_team": {"==": [{"var": "plan"}, "team"]}},
        "metadata": {"source": "test"},
    }
    imported = await client.put(DOCUMENT, json=given)
    assert imported.is_success, imported.text
    segment = {"key": "large", "conditions": [condition("seats", "at_least", 3)]}
    assert (await client.post("/v1/segments", json=segment)).is_success
    in_segment = {"conditions": [{"operator": "in_segment", "value": "large"}], **SPLIT}
    for key, source in (
        ("static", by_rules(in_segment)),
        (
            "disabled",
            by_rules(
                {"conditions": [condition("plan", "equals", "pro")], "variant": "on"},
                prerequisites=[{"flag": "static", "variants": ["on"]}],
            ),
        ),
    ):
        answer = await client.put(f"/v1/flags/{key}/environments/production", json=source)
        assert answer.is_success, answer.text
    return (await client.get(DOCUMENT)).content


def ask_flagd(core: FlagdCore, key: str, context: Mapping[str, Any]) -> tuple[object, str, str]:
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    asked = EvaluationContext(context["targetingKey"], attributes)
    details = core.resolve_boolean_value(key, default_value=False, ctx=asked)
    return details.value, details.variant or "", str(details.reason)


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context["targetingKey"])
async def test_flagds_own_evaluator_agrees(
    client: httpx.AsyncClient, exported: bytes, context: dict[str, Any]
):
    core = FlagdCore()
    core.set_flags(exported.decode())
    answer = await client.post("/ofrep/v1/evaluate/flags", json={"context": context})
    ours = {
        flag["key"]: (flag.get("value", False), flag["variant"], flag["reason"])
        for flag in answer.json()["flags"]
    }
    assert len(ours) == 6
    assert ours == {key: ask_flagd(core, key, context) for key in ours}


async def test_what_was_exported_comes_back_byte_for_byte(client: httpx.AsyncClient, exported: bytes):
    assert (await client.put(DOCUMENT, json=document())).is_success
    assert json.loads((await client.get(DOCUMENT)).content)["flags"] == {}
    headers = {"Content-Type": "application/json"}
    imported = await client.put(DOCUMENT, content=exported, headers=headers)
    assert imported.is_success, imported.text
    assert (await client.get(DOCUMENT)).content == exported
