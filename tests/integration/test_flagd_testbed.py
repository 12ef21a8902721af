"""The flagd testbed's evaluator suite, replayed through the gateway by the public OpenFeature SDK.

The suite is data of the flagd project, kept beside this repository; without it the replay is skipped.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagEvaluationDetails

from .gherkin import Scenario, Step, read_scenarios
from .ofrep import check_response
from .platforms import Platform

SUITE = Path(__file__).parents[2].parent / "shared" / "specs" / "openfeature" / "flagd-testbed" / "evaluator"

# Undercroft evaluates fractional v3 (canonical CBOR). Rows that state v1 buckets are left out; a row that states a v2
# bucket is replayed and held against the v3 bucket that flagd's own Python implementation finds for it.
FRACTIONAL_V1 = "@fractional-v1"
FRACTIONAL_V2 = "@fractional-v2"


def applicable() -> Iterator[Scenario]:
    for path in sorted(SUITE.glob("*.feature")):
        for scenario in read_scenarios(path):
            if FRACTIONAL_V1 not in scenario.tags:
                yield scenario


SCENARIOS = list(applicable())


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[OpenFeatureClient]:
    document = json.loads((SUITE / "testkit-flags.json").read_text())
    document.pop("$schema", None)
    created = platform.operator.post("/v1/environments", json={"key": "testbed", "name": "Testbed"})
    assert created.status_code in {201, 409}, created.text
    stored = platform.operator.put("/v1/environments/testbed/flagd", json=document)
    assert stored.status_code == 200, stored.text
    key = platform.create_key(scopes=["flags:evaluate"], environment="testbed")
    provider = OFREPProvider(platform.url, headers_factory=lambda: {"Authorization": f"Bearer {key}"})
    provider.session.hooks["response"].append(check_response)
    api.set_provider(provider, "testbed")
    platform.wait_for_flag(key, "boolean-flag")
    yield api.get_client("testbed")
    api.clear_providers()


@pytest.mark.skipif(not SUITE.exists(), reason=f"the flagd testbed is not in {SUITE}")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario, client: OpenFeatureClient) -> None:
    run = _Run(client, is_v2=FRACTIONAL_V2 in scenario.tags)
    for step in scenario.steps:
        run.step(step)
    assert run.checks > 0


def _convert(kind: str, text: str) -> object:
    converters: dict[str, Callable[[str], object]] = {
        "Boolean": lambda value: value == "true",
        "String": str,
        "Integer": int,
        "Float": float,
        "Object": lambda value: json.loads(value.replace('\\"', '"')),
    }
    return converters[kind](text)


class _Run:
    """One scenario in progress."""

    def __init__(self, client: OpenFeatureClient, *, is_v2: bool) -> None:
        self.client = client
        self.is_v2 = is_v2
        self.kind = self.key = ""
        self.fallback: object = None
        self.targeting_key: str | None = None
        self.attributes: dict[str, Any] = {}
        self.details: FlagEvaluationDetails[object] | None = None
        self.checks = 0

    def step(self, step: Step) -> None:
        for pattern, action in _STEPS:
            if match := re.fullmatch(pattern, step.text):
                action(self, step, *match.groups())
                return
        raise AssertionError(f"no step for {step.text!r}")

    def flag(self, _step: Step, kind: str, key: str, fallback: str) -> None:
        self.kind, self.key, self.fallback = kind, key, _convert(kind, fallback)

    def context(self, _step: Step, name: str, kind: str, value: str) -> None:
        self.attributes[name] = _convert(kind, value)

    def nested(self, _step: Step, outer: str, inner: str, value: str) -> None:
        self.attributes[outer] = {inner: value}

    def targeting(self, _step: Step, value: str) -> None:
        self.targeting_key = value

    def evaluate(self, _step: Step) -> None:
        method = getattr(self.client, f"get_{self.kind.lower()}_details")
        context = EvaluationContext(targeting_key=self.targeting_key, attributes=self.attributes)
        self.details = method(self.key, self.fallback, context)

    def reference(self) -> object:
        core = FlagdCore()
        core.set_flags((SUITE / "testkit-flags.json").read_text())
        context = EvaluationContext(self.targeting_key, self.attributes)
        return core.resolve_string_value(self.key, str(self.fallback), context).value

    def value_is(self, _step: Step, value: str) -> None:
        assert self.details is not None
        expected = self.reference() if self.is_v2 else _convert(self.kind, value)
        assert self.details.value == expected, self.details
        self.checks += 1

    def reason_is(self, _step: Step, reason: str) -> None:
        assert self.details is not None
        assert self.details.reason == reason, self.details
        self.checks += 1

    def error_is(self, _step: Step, code: str) -> None:
        assert self.details is not None
        assert self.details.error_code == code, self.details
        self.checks += 1

    def metadata_contains(self, step: Step) -> None:
        assert self.details is not None
        for key, kind, value in step.table[1:]:
            assert self.details.flag_metadata[key] == _convert(kind, value)
        self.checks += 1

    def metadata_is_empty(self, _step: Step) -> None:
        assert self.details is not None
        assert not self.details.flag_metadata
        self.checks += 1


_STEPS: list[tuple[str, Callable[..., None]]] = [
    (r"an evaluator", lambda _run, _step: None),
    (r'an? (\w+)-flag with key "([^"]*)" and a fallback value "(.*)"', _Run.flag),
    (r'a context containing a key "([^"]*)", with type "(\w+)" and with value "(.*)"', _Run.context),
    (
        (
            r'a context containing a nested property with outer key "([^"]*)" and inner key "([^"]*)", '
            r'with value "(.*)"'
        ),
        _Run.nested,
    ),
    (r'a context containing a targeting key with value "(.*)"', _Run.targeting),
    (r"the flag was evaluated with details", _Run.evaluate),
    (r'the resolved details value should be "(.*)"', _Run.value_is),
    (r'the reason should be "(.*)"', _Run.reason_is),
    (r'the error-code should be "(.*)"', _Run.error_is),
    (r"the resolved metadata should contain", _Run.metadata_contains),
    (r"the resolved metadata is empty", _Run.metadata_is_empty),
]
