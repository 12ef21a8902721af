"""Alive and ready: what orchestrators and the gateway's status page ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request

from undercroft.shared.auth import public
from undercroft.shared.errors import ServiceError
from undercroft.shared.serialization import JsonResponse, format_timestamp

HEALTH_MEDIA_TYPE = "application/health+json"
_PROBE_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ReadinessCheck:
    """One dependency: `probe` returns on success (optionally with details to show) and raises on failure.

    A failing check that is not `required` makes the answer `warn` and keeps the deployable ready.
    """

    name: str
    probe: Callable[[], Awaitable[dict[str, object] | None]]
    required: bool = True


def health_router() -> APIRouter:
    """Serve `/healthz` and `/readyz` (application/health+json, draft-inadarei-api-health-check)."""
    router = APIRouter(tags=["health"], include_in_schema=False)

    @router.get("/healthz")
    @public
    async def healthz(request: Request) -> JsonResponse:
        """Tell that the process answers."""
        return _answer(request, "pass", {})

    @router.get("/readyz")
    @public
    async def readyz(request: Request) -> JsonResponse:
        """Tell whether every dependency answers, each with its latency in milliseconds."""
        if request.app.state.is_draining:
            return _answer(request, "fail", {}, output="The process is stopping.")
        status, results = await run_checks(request.app.state.readiness_checks)
        return _answer(request, status, results)

    return router


async def run_checks(checks: Sequence[ReadinessCheck]) -> tuple[str, dict[str, list[dict[str, object]]]]:
    """Run every check concurrently; return the worst status and each result by name."""
    results = await asyncio.gather(*(_run(check) for check in checks))
    states = {str(result["status"]) for _, result in results}
    status = "fail" if "fail" in states else "warn" if "warn" in states else "pass"
    return status, {name: [result] for name, result in results}


async def _run(check: ReadinessCheck) -> tuple[str, dict[str, object]]:
    started = time.perf_counter()
    result: dict[str, object] = {"status": "pass"}
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
            result.update(await check.probe() or {})
    except TimeoutError:
        result.update(status="fail" if check.required else "warn", output="No answer in time.")
    except ServiceError as error:
        result.update(status="fail" if check.required else "warn", output=error.detail)
    except Exception:  # noqa: BLE001  a probe's failure is its answer; nothing internal is shown
        result.update(status="fail" if check.required else "warn", output="The check failed.")
    result.update(
        observedValue=round((time.perf_counter() - started) * 1000, 2),
        observedUnit="ms",
        time=format_timestamp(datetime.now(UTC)),
    )
    return check.name, result


def _answer(
    request: Request, status: str, checks: dict[str, list[dict[str, object]]], *, output: str | None = None
) -> JsonResponse:
    body: dict[str, object] = {
        "status": status,
        "serviceId": request.app.state.service_name,
        "version": request.app.version,
    }
    if checks:
        body["checks"] = checks
    if output:
        body["output"] = output
    return JsonResponse(
        body,
        status_code=503 if status == "fail" else 200,
        media_type=HEALTH_MEDIA_TYPE,
        headers={"Cache-Control": "no-store"},
    )
