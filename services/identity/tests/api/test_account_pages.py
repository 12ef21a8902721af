"""The pages of signing in and of one's account, used as a browser without scripts uses them."""

import html
import json
import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pyotp
import pytest
from fastapi import FastAPI
from services.identity.tests.authenticator import Authenticator
from services.identity.tests.conftest import client_of
from services.identity.tests.factories import OPERATOR, create_organization, settings
from services.identity.tests.people import (
    ADA,
    PASSWORD,
    add_member,
    add_session,
    add_user,
    bearer,
    change_user,
    confirmed,
    mails_of,
    text_of,
    token_in,
)

from undercroft.identity.dependencies.accounts import close_accounts
from undercroft.identity.main import create_app, install
from undercroft.shared.db import Database

NEW = "another quiet vault"
EVE = "eve@example.com"
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


class Browser:
    """Fills in forms of the page that it shows; follows no redirect by itself."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def show(self, path: str) -> httpx.Response:
        self.page = await self.client.get(path)
        return self.page

    async def send(self, path: str, *, on: str | None = None, **fields: str) -> httpx.Response:
        page = await self.show(on or path)
        found = _TOKEN.search(page.text)
        assert found is not None, page.text
        self.page = await self.client.post(path, data={**fields, "form_token": found[1]})
        return self.page

    async def sign_in(self, **fields: str) -> httpx.Response:
        return await self.send("/sign-in", **{"email": ADA, "password": PASSWORD, **fields})


@pytest.fixture
async def browser(client: httpx.AsyncClient) -> Browser:
    return Browser(client)


@pytest.fixture
async def ada(browser: Browser, app: FastAPI) -> Browser:
    """A browser in which Ada is signed in."""
    await confirmed(browser.client, app)
    assert (await browser.sign_in()).status_code == 303
    return browser


def goes_to(answer: httpx.Response) -> str:
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


async def test_registering_confirming_and_signing_in_lead_back_to_where_one_came_from(
    browser: Browser, app: FastAPI
):
    goal = "/oauth/authorize?client_id=a&state=b"
    fields = {"email": ADA, "password": PASSWORD, "name": "Ada", "organization": "Acme", "continue": goal}
    assert goes_to(await browser.send("/register", **fields)).startswith("/register/sent?")
    assert (await browser.show("/register/sent")).status_code == 200
    (mail,) = await mails_of(app)
    link = re.search(r"http://127\.0\.0\.1:8080(/verify-email\S+)", text_of(mail))
    assert link is not None
    assert parse_qs(urlsplit(link[1]).query)["continue"] == [goal]
    await browser.show(link[1])
    confirmed_at = goes_to(await browser.send("/verify-email", token=token_in(mail), **{"continue": goal}))
    shown = await browser.show(confirmed_at)
    assert "Your address is confirmed" in shown.text
    assert goes_to(await browser.sign_in(**{"continue": goal})) == goal
    account = await browser.show("/account")
    assert "Acme" in account.text
    assert goes_to(await browser.show(f"/sign-in?continue={goal.replace('&', '%26')}")) == goal


@pytest.mark.parametrize(
    "evil", ["//evil.example", "/\\evil.example", "\t//evil.example", "https://evil.example"]
)
async def test_signing_in_never_leads_elsewhere(browser: Browser, app: FastAPI, evil: str):
    await confirmed(browser.client, app)
    assert goes_to(await browser.sign_in(**{"continue": evil})) == "/account"
    shown = await browser.client.get("/sign-in", params={"continue": evil})
    assert goes_to(shown) == "/account"


async def test_a_wrong_registration_is_shown_beside_its_fields(browser: Browser):
    answer = await browser.send("/register", email="nonsense", password="short", name="")
    again = await browser.send("/register/again", on="/register/sent", email="nonsense")
    weak = await browser.send("/register", email=ADA, password="short", name="Ada")
    assert (answer.status_code, again.status_code, weak.status_code) == (422, 422, 422)
    assert 'aria-describedby="email-problem' in answer.text
    assert 'role="alert"' in answer.text
    assert "Use 10 characters or more." in weak.text
    assert "short" not in weak.text.replace("shorter", "")
    sent = await browser.send("/register/again", on="/register/sent", email=ADA)
    assert goes_to(sent) == "/register/sent"


async def test_where_registering_is_closed_the_page_says_so(database: Database):
    app = create_app(settings("postgresql+asyncpg://nobody@localhost/nowhere", sign_up="closed"))
    install(app, database)
    async with client_of(app) as client:
        page = await client.get("/register")
        sign_in = await client.get("/sign-in")
    await close_accounts(app)
    assert "By invitation only" in page.text
    assert "Create an account" not in sign_in.text


@pytest.mark.usefixtures("long_waits")
async def test_a_wrong_password_is_refused_on_the_page_and_too_many_wait(browser: Browser, app: FastAPI):
    await confirmed(browser.client, app)
    answers = [await browser.sign_in(password="wrong wrong") for _ in range(7)]
    assert answers[0].status_code == 401
    assert "The address or the password is wrong." in answers[0].text
    assert (answers[-1].status_code, "Retry-After" in answers[-1].headers) == (429, True)


async def test_a_disabled_account_is_told_so(browser: Browser, app: FastAPI):
    user_id = await confirmed(browser.client, app)
    await change_user(browser.client, user_id, isDisabled=True)
    answer = await browser.sign_in()
    assert (answer.status_code, "disabled" in answer.text) == (403, True)


async def test_one_time_codes_are_set_up_used_and_disabled(ada: Browser):
    assert goes_to(await ada.send("/account/totp/begin", on="/account")) == "/account/totp"
    shown = await ada.show("/account/totp")
    found = re.search(r'class="secret code">([A-Z2-7 ]+)<', shown.text)
    assert found is not None
    totp = pyotp.TOTP(found[1].replace(" ", ""))
    assert "data:image/svg+xml" in shown.text
    assert (await ada.send("/account/totp", code="000000")).status_code == 422
    codes = re.findall(r"<li>([a-z2-7-]{19})</li>", (await ada.send("/account/totp", code=totp.now())).text)
    assert len(codes) == 10
    assert goes_to(await ada.show("/account/totp")) == "/account#second-factor"
    await ada.send("/sign-out")
    asked = goes_to(await ada.sign_in(**{"continue": "/oauth/x"}))
    assert asked == "/sign-in/second-factor?continue=%2Foauth%2Fx"
    wrong = await ada.send("/sign-in/second-factor", on=asked, code="000000")
    assert (wrong.status_code, "code-problem" in wrong.text) == (401, True)
    done = await ada.send("/sign-in/second-factor", on=asked, code=codes[0], **{"continue": "/oauth/x"})
    assert goes_to(done) == "/oauth/x"
    refused = await ada.send("/account/totp/disable", on="/account", totp_password="wrong wrong")
    assert (refused.status_code, "totp_password-problem" in refused.text) == (403, True)
    renewed = await ada.send("/account/recovery-codes", on="/account", totp_password=PASSWORD)
    assert "Your recovery codes" in renewed.text
    refused = await ada.send("/account/recovery-codes", on="/account", totp_password="wrong wrong")
    assert refused.status_code == 403
    disabled = await ada.send("/account/totp/disable", on="/account", totp_password=PASSWORD)
    assert goes_to(disabled).startswith("/account?notice=totp-disabled")


async def test_the_second_factor_needs_a_password_first(browser: Browser, app: FastAPI):
    assert goes_to(await browser.show("/sign-in/second-factor")).startswith("/sign-in?")
    browser.client.cookies.set("undercroft_pending", "nonsense")
    assert goes_to(await browser.show("/sign-in/second-factor")).startswith("/sign-in?")


async def test_the_second_factor_is_waited_for_ten_minutes(ada: Browser, app: FastAPI):
    await ada.send("/account/totp/begin", on="/account")
    found = re.search(r'class="secret code">([A-Z2-7 ]+)<', (await ada.show("/account/totp")).text)
    assert found is not None
    await ada.send("/account/totp", code=pyotp.TOTP(found[1].replace(" ", "")).now())
    await ada.send("/sign-out")
    asked = goes_to(await ada.sign_in())
    clock = app.state.clock
    app.state.clock = lambda: clock() + timedelta(minutes=11)
    assert goes_to(await ada.show(asked)).startswith("/sign-in?")


async def test_signing_out_asks_and_then_forgets(ada: Browser):
    assert (await ada.show("/sign-out")).status_code == 200
    assert goes_to(await ada.send("/sign-out")) == "/sign-in?notice=signed-out"
    assert goes_to(await ada.show("/account")) == "/sign-in?continue=%2Faccount"
    assert goes_to(await ada.show("/sign-out")) == "/sign-in"
    assert "You are signed out." in (await ada.show("/sign-in?notice=signed-out")).text


async def test_the_profile_the_address_and_the_password_are_changed(ada: Browser, app: FastAPI):
    profile = {"name": "Augusta", "locale": "en", "zoneinfo": "Europe/London"}
    assert goes_to(await ada.send("/account/profile", on="/account", **profile)).startswith(
        "/account?notice=saved"
    )
    wrong = await ada.send("/account/profile", on="/account", name="", locale="??")
    assert (wrong.status_code, "locale-problem" in wrong.text) == (422, True)
    email = {"new_email": "ada@new.example.com", "email_password": PASSWORD}
    refused = await ada.send("/account/email", on="/account", **{**email, "email_password": "wrong wrong"})
    assert (refused.status_code, "email_password-problem" in refused.text) == (403, True)
    assert (await ada.send("/account/email", on="/account", **{**email, "new_email": "x"})).status_code == 422
    assert goes_to(await ada.send("/account/email", on="/account", **email)).startswith(
        "/account?notice=email"
    )
    mail = (await mails_of(app))[-1]
    done = await ada.send("/verify-email", on=f"/verify-email?token={token_in(mail)}", token=token_in(mail))
    assert goes_to(done) == "/account?notice=email-changed"
    passwords = {"current_password": PASSWORD, "new_password": NEW}
    weak = await ada.send("/account/password", on="/account", **{**passwords, "new_password": "short"})
    assert (weak.status_code, "new_password-problem" in weak.text) == (422, True)
    refused = await ada.send("/account/password", on="/account", **{**passwords, "current_password": NEW})
    assert (refused.status_code, "current_password-problem" in refused.text) == (403, True)
    assert NEW not in refused.text
    assert goes_to(await ada.send("/account/password", on="/account", **passwords)).startswith(
        "/account?notice=pass"
    )
    assert (await ada.show("/account")).status_code == 200


async def test_a_forgotten_password_is_reset(browser: Browser, app: FastAPI):
    await confirmed(browser.client, app)
    assert (await browser.send("/forgot-password", email="nonsense")).status_code == 422
    assert goes_to(await browser.send("/forgot-password", email=ADA)) == "/forgot-password/sent"
    assert (await browser.show("/forgot-password/sent")).status_code == 200
    (mail,) = await mails_of(app)
    page = f"/reset-password?token={token_in(mail)}"
    weak = await browser.send("/reset-password", on=page, token=token_in(mail), password="short")
    done = await browser.send("/reset-password", on=page, token=token_in(mail), password=NEW)
    stale = await browser.show(page)
    assert (weak.status_code, "password-problem" in weak.text) == (422, True)
    assert goes_to(done) == "/sign-in?notice=password-changed"
    assert (stale.status_code, "link_invalid" in stale.text) == (404, True)
    assert goes_to(await browser.sign_in(password=NEW)) == "/account"


async def test_a_link_that_opens_nothing_says_so(browser: Browser):
    answer = await browser.send("/verify-email", on="/verify-email?token=x", token="x")
    assert (answer.status_code, "link_invalid" in answer.text) == (404, True)


async def test_devices_are_signed_out_on_the_page(ada: Browser, database: Database):
    me = re.search(r"Signed in as", (await ada.show("/account")).text)
    assert me is not None
    user_id = await only_user(ada)
    other, _ = await add_session(database, user_id)
    await add_session(database, user_id)
    ended = await ada.send(f"/account/sessions/{other}/end", on="/account")
    others = await ada.send("/account/sessions/end-others", on="/account")
    assert goes_to(ended) == goes_to(others) == "/account?notice=signed-out#devices"
    page = (await ada.show("/account")).text
    assert page.count("This device") == 1
    assert "Sign out every other device" not in page


async def only_user(browser: Browser) -> str:
    (user,) = (await browser.client.get("/v1/users", headers=OPERATOR)).json()["items"]
    return str(user["id"])


async def test_signing_in_again_renews_the_session_and_somebody_else_ends_it(
    ada: Browser, app: FastAPI, database: Database
):
    user_id = await only_user(ada)
    again = await ada.send("/sign-in", on="/sign-in?again=1", email=ADA, password=PASSWORD)
    assert goes_to(again) == "/account"
    items = (await ada.client.get("/v1/sessions", headers=bearer(user_id))).json()["items"]
    assert len(items) == 1
    async with client_of(app) as other:
        await confirmed(other, app, EVE)
    await ada.send("/sign-in", on="/sign-in?again=1", email=EVE, password=PASSWORD)
    assert (await ada.client.get("/v1/sessions", headers=bearer(user_id))).json()["items"] == []


async def test_an_account_is_deleted_by_typing_its_address(ada: Browser, app: FastAPI, database: Database):
    user_id = await only_user(ada)
    organization = await create_organization(ada.client)
    await add_member(database, organization["id"], user_id, "owner")
    wrong = await ada.send("/account/delete", email="other@example.com")
    alone = await ada.send("/account/delete", email=ADA)
    await ada.client.delete(f"/v1/organizations/{organization['id']}", headers=OPERATOR)
    done = await ada.send("/account/delete", email=ADA.upper())
    assert (wrong.status_code, alone.status_code) == (422, 409)
    assert goes_to(done) == "/sign-in?notice=deleted"
    assert goes_to(await ada.show("/account")).startswith("/sign-in")


async def test_what_needs_a_recent_sign_in_leads_to_signing_in_again(ada: Browser, app: FastAPI):
    clock = app.state.clock
    app.state.clock = lambda: clock() + timedelta(hours=1)
    assert goes_to(await ada.show("/account/delete")) == "/sign-in?continue=%2Faccount&again=1"
    assert goes_to(await ada.show("/account/passkeys/new")) == "/sign-in?continue=%2Faccount&again=1"
    assert "Sign in again to go on." in (await ada.show("/sign-in?again=1")).text


async def test_an_invitation_is_accepted_on_its_page(ada: Browser, app: FastAPI):
    organization = await create_organization(ada.client)
    path = f"/v1/organizations/{organization['id']}/invitations"
    await ada.client.post(path, json={"email": ADA}, headers=OPERATOR)
    await ada.client.post(path, json={"email": EVE}, headers=OPERATOR)
    links = {mail["To"]: token_in(mail) for mail in await mails_of(app)}
    assert "The team of Acme" not in (await ada.show(f"/invitation?token={links[ADA]}")).text
    foreign = await ada.show(f"/invitation?token={links[EVE]}")
    assert "Sign in with the invited address" in foreign.text
    mine = await ada.send("/invitation/accept", on=f"/invitation?token={links[ADA]}", token=links[ADA])
    assert goes_to(mine) == "/account?notice=joined"
    await ada.send("/sign-out")
    on = f"/invitation?token={links[EVE]}"
    weak = await ada.send(
        "/invitation/register", on=on, token=links[EVE], email=EVE, name="Eve", password="short"
    )
    done = await ada.send(
        "/invitation/register", on=on, token=links[EVE], email=EVE, name="Eve", password=PASSWORD
    )
    assert (weak.status_code, "password-problem" in weak.text) == (422, True)
    assert goes_to(done) == "/account?notice=joined"
    assert "Acme" in (await ada.show("/account")).text
    assert (await ada.show(on)).status_code == 404


async def test_the_invitation_of_a_known_address_leads_to_signing_in(
    browser: Browser, app: FastAPI, database: Database
):
    organization = await create_organization(browser.client)
    await add_user(database)
    path = f"/v1/organizations/{organization['id']}/invitations"
    await browser.client.post(path, json={"email": ADA}, headers=OPERATOR)
    (mail,) = await mails_of(app)
    page = await browser.show(f"/invitation?token={token_in(mail)}")
    assert "Sign in to accept" in page.text


def options_of(page: str) -> tuple[dict[str, object], str]:
    options = re.search(r'data-options="([^"]+)"', page)
    state = re.search(r'name="passkey_state" value="([^"]+)"', page)
    assert options is not None
    assert state is not None
    return json.loads(html.unescape(options[1])), state[1]


async def test_passkeys_are_added_used_and_removed_on_pages(database: Database):
    app = create_app(
        settings("postgresql+asyncpg://nobody@localhost/nowhere", issuer="http://localhost:8080")
    )
    install(app, database)
    authenticator = Authenticator("http://localhost:8080")
    async with client_of(app) as client:
        browser = Browser(client)
        await confirmed(client, app)
        await browser.sign_in()
        options, state = options_of((await browser.show("/account/passkeys/new")).text)
        credential = json.dumps(authenticator.create(options))
        fields = {"passkey_state": state, "passkey_credential": credential}
        added = await browser.send("/account/passkeys/new", name="", **fields)
        twice = await browser.send("/account/passkeys/new", name="", **fields)
        broken = await browser.send("/account/passkeys/new", passkey_credential="[]")
        await browser.send("/sign-out")
        options, state = options_of((await browser.show("/sign-in")).text)
        credential = json.dumps(authenticator.get(options))
        done = await browser.send("/sign-in", passkey_state=state, passkey_credential=credential)
        refused = await browser.send(
            "/sign-in", on="/sign-in?again=1", passkey_state=state, passkey_credential=credential
        )
        path = re.search(
            r'action="(/account/passkeys/pky_\w+/remove)"', (await browser.show("/account")).text
        )
        assert path is not None
        removed = await browser.send(path[1], on="/account")
    await close_accounts(app)
    assert goes_to(added).startswith("/account?notice=passkey-added")
    assert (twice.status_code, broken.status_code, refused.status_code) == (422, 400, 422)
    assert goes_to(done) == "/account"
    assert goes_to(removed).startswith("/account?notice=passkey-removed")


async def test_passkeys_are_not_offered_for_an_ip_address(browser: Browser):
    assert "passkey" not in (await browser.show("/sign-in")).text
