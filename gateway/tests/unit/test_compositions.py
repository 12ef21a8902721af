import asyncio
from typing import Any

import pytest

from undercroft.gateway.compositions.engine import Part, compose
from undercroft.gateway.compositions.status import (
    DependencyStatus,
    PlatformStatus,
    ServiceStatus,
    StatusPage,
)
from undercroft.gateway.proxy.pages import prefers_html
from undercroft.shared.errors import NotFoundError, UnavailableError
from undercroft.shared.serialization import JsonValue


def part(name: str, value: JsonValue = None, *, error: Exception | None = None, **options: Any) -> Part:
    async def load() -> JsonValue:
        if error is not None:
            raise error
        return value

    return Part(**{"name": name, "load": load, "timeout_seconds": 1.0, **options})


async def never() -> JsonValue:
    await asyncio.sleep(60)
    return None


async def test_parts_become_members():
    assert await compose([part("a", 1), part("b", [2])]) == {"a": 1, "b": [2]}


async def test_parts_run_at_the_same_time():
    everybody = asyncio.Barrier(4)

    async def meet() -> JsonValue:
        await everybody.wait()
        return 1

    assert await compose([part(name, load=meet) for name in "abcd"]) == dict.fromkeys("abcd", 1)


async def test_an_optional_part_that_fails_is_told():
    composed = await compose([part("a", 1), part("b", error=UnavailableError("away"))])
    assert composed == {
        "a": 1,
        "b": None,
        "_incomplete": [{"part": "b", "status": 503, "code": "unavailable"}],
    }


async def test_a_late_part_does_not_hold_up_the_others():
    composed = await compose([part("a", 1), part("b", load=never, timeout_seconds=0.02)])
    assert composed["_incomplete"] == [{"part": "b", "status": 504, "code": "gateway_timeout"}]


async def test_a_required_part_fails_the_whole_with_its_own_error():
    with pytest.raises(NotFoundError) as caught:
        await compose(
            [part("a", 1), part("b", error=NotFoundError(code="organization_not_found"), is_required=True)]
        )
    assert (caught.value.status, caught.value.code) == (404, "organization_not_found")


def test_the_page_escapes_what_came_from_elsewhere():
    status = PlatformStatus.model_validate(
        {
            "status": "fail",
            "checked_at": "2026-11-23T00:00:00Z",
            "services": [
                ServiceStatus(
                    name="<b>flags</b>",
                    status="fail",
                    latency_ms=1.26,
                    detail="<script>",
                    dependencies=[DependencyStatus(name="database", status="warn")],
                )
            ],
        }
    )
    page = StatusPage().render(status)
    assert "<b>flags" not in page
    assert "<script" not in page
    assert "Some parts are down" in page
    assert "1.3 ms" in page


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html;q=0.5", False),
        ("text/*, application/json;q=0.1", True),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        ("text/html;level=1", True),
        ("", False),
    ],
)
def test_browsers_get_html(accept: str, *, expected: bool):
    assert prefers_html(accept) is expected
