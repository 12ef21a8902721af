"""Answers put together from several services: parts run concurrently, and partial failure is told truthfully."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from undercroft.shared.errors import GatewayTimeoutError, ServiceError
from undercroft.shared.serialization import JsonValue

INCOMPLETE: Final = "_incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a composition: `load` answers or raises a `ServiceError`.

    A required part that fails fails the whole with its own error; an optional one leaves null and an entry in
    `_incomplete`.
    """

    name: str
    load: Callable[[], Awaitable[JsonValue]]
    timeout_seconds: float
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a part, and how long it took."""

    value: JsonValue
    error: ServiceError | None
    seconds: float


async def run_parts(parts: Sequence[Part]) -> dict[str, Outcome]:
    """Run every part concurrently; one that fails or is late does not hold up the others."""
    outcomes = await asyncio.gather(*(_run(part) for part in parts))
    return {part.name: outcome for part, outcome in zip(parts, outcomes, strict=True)}


async def compose(parts: Sequence[Part]) -> dict[str, JsonValue]:
    """Return one object with a member for each part.

    Raises the error of a required part; `_incomplete` lists optional parts that are missing, with their status.
    """
    outcomes = await run_parts(parts)
    for part in parts:
        error = outcomes[part.name].error
        if part.is_required and error is not None:
            raise error
    composed: dict[str, JsonValue] = {name: outcome.value for name, outcome in outcomes.items()}
    missing = missing_parts(outcomes)
    if missing:
        composed[INCOMPLETE] = missing
    return composed


def missing_parts(outcomes: Mapping[str, Outcome]) -> list[JsonValue]:
    """Return the entries of `_incomplete`."""
    return [
        {"part": name, "status": outcome.error.status, "code": outcome.error.code}
        for name, outcome in outcomes.items()
        if outcome.error is not None
    ]


async def _run(part: Part) -> Outcome:
    started = time.perf_counter()
    value: JsonValue = None
    error: ServiceError | None = None
    try:
        async with asyncio.timeout(part.timeout_seconds):
            value = await part.load()
    except TimeoutError:
        error = GatewayTimeoutError(f"{part.name} did not answer in time.")
    except ServiceError as caught:
        error = caught
    return Outcome(value, error, time.perf_counter() - started)
