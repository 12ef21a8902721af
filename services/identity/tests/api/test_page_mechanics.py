"""What every page has: its headers, its forms' protection, its errors. Shown on routes of the test's own."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from services.identity.tests.conftest import client_of
from services.identity.tests.factories import settings

from undercroft.identity.main import create_app
from undercroft.identity.routes.pages.assets import asset_path
from undercroft.identity.routes.pages.page_route import PageRoute, PostedForm
from undercroft.identity.routes.pages.rendering import render, see_other
from undercroft.shared.errors import InternalError, RateLimitedError

NOWHERE = "postgresql+asyncpg://nobody@localhost/nowhere"
FORM = "application/x-www-form-urlencoded"


def pages_app(**values: object) -> FastAPI:
    from fastapi import Request, Response

    pages = APIRouter(route_class=PageRoute)

    @pages.get("/page")
    async def show(request: Request) -> Response:
        return render(request, "error", error=RateLimitedError("<b>"), request_id="req_1")

    @pages.get("/broken")
    async def broken() -> Response:
        raise InternalError

    @pages.get("/limited")
    async def limited() -> Response:
        raise RateLimitedError("Wait.", retry_after_seconds=7)

    @pages.get("/number")
    async def number(value: int) -> Response:
        raise InternalError(str(value))

    @pages.post("/page")
    async def send(form: PostedForm) -> Response:
        return see_other(f"/{form['to']}")

    app = create_app(settings(NOWHERE, **values))
    app.include_router(pages)
    return app


async def token_of(client: httpx.AsyncClient) -> str:
    from undercroft.identity.routes.pages import form_tokens

    await client.get("/page")
    (secret,) = [cookie.value for cookie in client.cookies.jar if cookie.name.endswith("undercroft_form")]
    assert secret is not None
    scope = {
        "type": "http",
        "headers": [(b"cookie", f"undercroft_form={secret}".encode())],
        "app": pages_app(),
    }
    from fastapi import Request

    return form_tokens.form_token(Request(scope))[0]


async def test_a_page_is_never_kept_framed_or_given_foreign_content():
    async with client_of(pages_app()) as client:
        answer = await client.get("/page")
    policy = answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_what_is_put_into_a_page_is_escaped():
    async with client_of(pages_app()) as client:
        answer = await client.get("/page")
    assert "&lt;b&gt;" in answer.text
    assert "<b>" not in answer.text


async def test_a_form_of_this_browser_is_answered_by_a_redirect_to_a_get():
    async with client_of(pages_app()) as client:
        token = await token_of(client)
        answer = await client.post("/page", data={"to": "done", "form_token": token})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/done")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        ("to=done", 403, "form_expired"),
        ("to=done&form_token=wrong", 403, "form_expired"),
        ("to=done&to=again", 400, "form_malformed"),
        ("to=%00", 400, "form_malformed"),
        ("to=%FF", 400, "form_malformed"),
        ("to=" + "a" * 70_000, 400, "form_malformed"),
        ("&".join(f"f{number}=1" for number in range(200)), 400, "form_malformed"),
    ],
)
async def test_a_foreign_or_malformed_form_is_refused_on_a_page(content: str, status: int, code: str):
    async with client_of(pages_app()) as client:
        await client.get("/page")
        answer = await client.post("/page", content=content, headers={"Content-Type": FORM})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert code in answer.text


async def test_another_media_type_is_no_form():
    async with client_of(pages_app()) as client:
        answer = await client.post("/page", json={})
    assert answer.status_code == 400


async def test_a_form_without_its_cookie_or_sent_by_another_site_is_refused():
    async with client_of(pages_app()) as client:
        token = await token_of(client)
        body = {"to": "done", "form_token": token}
        foreign = await client.post("/page", data=body, headers={"Sec-Fetch-Site": "cross-site"})
        client.cookies.clear()
        bare = await client.post("/page", data=body)
    assert (foreign.status_code, bare.status_code) == (403, 403)


async def test_a_form_that_was_rendered_before_signing_in_is_refused_after_it():
    async with client_of(pages_app()) as client:
        token = await token_of(client)
        client.cookies.set("undercroft_session", "other")
        answer = await client.post("/page", data={"to": "done", "form_token": token})
    assert answer.status_code == 403


async def test_behind_https_the_cookie_is_bound_to_the_host():
    async with client_of(pages_app(issuer="https://id.example.com")) as client:
        cookie = (await client.get("/page")).headers["Set-Cookie"]
    assert cookie.startswith("__Host-undercroft_form=")
    assert all(part in cookie for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"))


async def test_errors_are_pages_with_their_status_and_headers():
    async with client_of(pages_app()) as client:
        limited, broken = await client.get("/limited"), await client.get("/broken")
        unreadable = await client.get("/number", params={"value": "x"})
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")
    assert (broken.status_code, "internal_error" in broken.text) == (500, True)
    assert (unreadable.status_code, "<h1>" in unreadable.text) == (400, True)


async def test_assets_are_kept_for_ever_under_the_name_of_their_content():
    async with client_of(pages_app()) as client:
        answer = await client.get(asset_path("pages.css"))
        missing = await client.get("/assets/identity/pages-0.css")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["Cache-Control"]
    assert missing.status_code == 404
