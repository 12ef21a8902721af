"""Replays flagd's evaluator suite over OFREP, through the application, with the reader of the engine's own replay."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from services.flags.tests.unit.test_flagd_testbed import (
    OTHER_VERSIONS,
    VERSION_2_SCENARIOS,
    Replay,
    read_feature,
)

from undercroft.flags.domain import NO_VALUE

FEATURES = (
    "disabled",
    "errors",
    "evaluation",
    "evaluator-refs",
    "fractional",
    "metadata",
    "no-default-variant",
    "semver",
    "string",
    "targeting",
    "zero-values",
)


@dataclass(frozen=True)
class Answer:
    """An OFREP answer, in the words of an evaluation."""

    reason: object
    value: object
    metadata: object
    error_code: object


class RemoteFlags:
    """A flag set on the other side of OFREP, for a replay that runs in a thread."""

    def __init__(self, post: Callable[[str, object], httpx.Response]) -> None:
        self._post = post

    def evaluate(self, key: str, context: Mapping[str, object], *, now: int) -> Answer:
        body = self._post(f"/ofrep/v1/evaluate/flags/{key}", {"context": context}).json()
        assert "variant" in body or "errorDetails" in body
        return Answer(
            reason=body.get("reason", "ERROR"),
            value=body.get("value", NO_VALUE),
            metadata=body.get("metadata", {}),
            error_code=body.get("errorCode"),
        )


@pytest.fixture
async def post(
    app: FastAPI, client: httpx.AsyncClient, specifications: Path
) -> Callable[[str, object], httpx.Response]:
    """Import the suite's flags; return a blocking call for another thread."""
    app.state.settings = app.state.settings.model_copy(update={"max_flags": 100})
    flags = (specifications / "flagd-testbed" / "evaluator" / "testkit-flags.json").read_bytes()
    headers = {"Content-Type": "application/json"}
    imported = await client.put("/v1/environments/production/flagd", content=flags, headers=headers)
    assert imported.status_code == 200, imported.text
    loop = asyncio.get_running_loop()

    def call(path: str, body: object) -> httpx.Response:
        answer: Awaitable[httpx.Response] = client.post(path, json=body)
        return asyncio.run_coroutine_threadsafe(answer, loop).result(timeout=10)  # type: ignore[arg-type]

    return call


@pytest.mark.parametrize("feature", FEATURES)
async def test_every_row_for_the_third_fractional_passes_over_ofrep(
    feature: str, post: Callable[[str, object], httpx.Response], specifications: Path
):
    text = (specifications / "flagd-testbed" / "evaluator" / f"{feature}.feature").read_text()
    replayed = 0
    for scenario in read_feature(text):
        if scenario.name in VERSION_2_SCENARIOS:
            continue
        for steps, tags in scenario.cases():
            if tags & OTHER_VERSIONS:
                continue
            replay = Replay(RemoteFlags(post))  # type: ignore[arg-type]  # an evaluation by other means
            await asyncio.to_thread(replay.run, steps, scenario.step_tables)
            replayed += 1
    assert replayed
