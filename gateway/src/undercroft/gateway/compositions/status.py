"""`GET /v1/status`: readiness and latency of every service and of what it depends on."""

import asyncio
import base64
import hashlib
import html
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final, Literal

from pydantic import Field

from undercroft.gateway.compositions.engine import Outcome, Part, run_parts
from undercroft.shared.http_client import CallOptions, ServiceClient
from undercroft.shared.serialization import JsonValue, Timestamp, WireModel, loads

State = Literal["pass", "warn", "fail"]

_PART_SECONDS = 3.0
_KEPT_SECONDS = 1.0
_NOT_READY = frozenset({503})
_WORST: Final[tuple[State, ...]] = ("pass", "warn", "fail")
_WORDS: Final[Mapping[State, str]] = {"pass": "Working", "warn": "Degraded", "fail": "Down"}


class DependencyStatus(WireModel):
    """Something that a service needs, such as its database."""

    name: str
    status: State
    latency_ms: float | None = Field(None, description="How long the check took, in milliseconds.")
    detail: str | None = None


class ServiceStatus(WireModel):
    """One service and what it depends on."""

    name: str
    status: State
    latency_ms: float = Field(description="How long the service took to answer, in milliseconds.")
    detail: str | None = None
    dependencies: list[DependencyStatus] = Field(default_factory=list)


class PlatformStatus(WireModel):
    """The state of the whole platform: as good as its worst part."""

    status: State
    checked_at: Timestamp
    services: list[ServiceStatus]


class StatusComposition:
    """Asks every service whether it is ready; the answer is kept for a second, however many ask."""

    def __init__(self, clients: Mapping[str, ServiceClient], own: Callable[[], Awaitable[JsonValue]]) -> None:
        self._parts = [
            Part(name="gateway", load=own, timeout_seconds=_PART_SECONDS),
            *(
                Part(name=name, load=_readiness(client), timeout_seconds=_PART_SECONDS)
                for name, client in clients.items()
            ),
        ]
        self._kept: PlatformStatus | None = None
        self._kept_until = 0.0
        self._lock = asyncio.Lock()

    async def read(self) -> PlatformStatus:
        """Return the platform's status now."""
        async with self._lock:
            if self._kept is None or time.monotonic() >= self._kept_until:
                outcomes = await run_parts(self._parts)
                services = [_service_status(name, outcome) for name, outcome in outcomes.items()]
                worst = max((service.status for service in services), key=_WORST.index)
                self._kept = PlatformStatus(status=worst, checked_at=datetime.now(UTC), services=services)
                self._kept_until = time.monotonic() + _KEPT_SECONDS
            return self._kept


def _readiness(client: ServiceClient) -> Callable[[], Awaitable[JsonValue]]:
    async def load() -> JsonValue:
        answer = await client.send("GET", "/readyz", options=CallOptions(also_accepts=_NOT_READY))
        return loads(answer.content)

    return load


def _service_status(name: str, outcome: Outcome) -> ServiceStatus:
    latency = round(outcome.seconds * 1000, 2)
    if outcome.error is not None:
        return ServiceStatus(name=name, status="fail", latency_ms=latency, detail=outcome.error.detail)
    document = outcome.value if isinstance(outcome.value, dict) else {}
    checks = document.get("checks")
    dependencies = [
        _dependency_status(str(key), entry)
        for key, entries in (checks.items() if isinstance(checks, dict) else ())
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict)
    ]
    detail = document.get("output")
    return ServiceStatus(
        name=name,
        status=_state(document.get("status")),
        latency_ms=latency,
        detail=detail if isinstance(detail, str) else None,
        dependencies=dependencies,
    )


def _dependency_status(name: str, entry: Mapping[str, JsonValue]) -> DependencyStatus:
    latency, detail = entry.get("observedValue"), entry.get("output")
    return DependencyStatus(
        name=name,
        status=_state(entry.get("status")),
        latency_ms=float(latency) if isinstance(latency, (int, float)) else None,
        detail=detail if isinstance(detail, str) else None,
    )


def _state(value: JsonValue) -> State:
    match value:
        case "pass" | "warn":
            return value
        case _:
            return "fail"


class StatusPage:
    """The status as a small page: no script, one style sheet that the policy names by its hash."""

    def __init__(self) -> None:
        self._style = files("undercroft.gateway").joinpath("assets/status.css").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode("ascii")
        self.content_security_policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        )

    def render(self, status: PlatformStatus) -> str:
        """Render the page; everything that came from elsewhere is escaped."""
        services = "".join(_render_service(service) for service in status.services)
        checked = status.checked_at.strftime("%Y-%m-%d %H:%M:%S UTC")
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="15">'
            f"<title>{_HEADLINES[status.status]} - Undercroft status</title>"
            f"<style>{self._style}</style></head><body><main>"
            f'<header class="{status.status}"><p>Undercroft status</p><h1>{_HEADLINES[status.status]}</h1>'
            f"<p>Checked {checked}</p></header><ul>{services}</ul>"
            '<footer><a href="/docs">API documentation</a></footer></main></body></html>'
        )


_HEADLINES: Final[Mapping[State, str]] = {
    "pass": "Everything works",
    "warn": "Some parts are degraded",
    "fail": "Some parts are down",
}


def _render_service(service: ServiceStatus) -> str:
    rows = "".join(
        _row(each.name, each.status, each.latency_ms, each.detail) for each in service.dependencies
    )
    inner = f"<ul>{rows}</ul>" if rows else ""
    return _row(service.name, service.status, service.latency_ms, service.detail, inner)


def _row(name: str, status: State, latency_ms: float | None, detail: str | None, inner: str = "") -> str:
    latency = f"{latency_ms:.1f} ms" if latency_ms is not None else ""
    note = f"<em>{html.escape(detail)}</em>" if detail else ""
    return (
        f'<li class="{status}"><div><strong>{html.escape(name)}</strong>{note}'
        f"<span>{latency}</span><b>{_WORDS[status]}</b></div>{inner}</li>"
    )
