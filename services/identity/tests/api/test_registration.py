"""Registering and confirming an address, and that neither tells who has an account."""

import httpx
import pytest
from fastapi import FastAPI
from services.identity.tests.factories import outcome
from services.identity.tests.people import (
    ADA,
    PASSWORD,
    add_user,
    confirmed,
    happenings,
    mails_of,
    register,
    sign_in,
    text_of,
    token_in,
)

from undercroft.shared.db import Database


async def test_whoever_follows_the_link_has_the_account_that_was_promised(
    client: httpx.AsyncClient, app: FastAPI
):
    registered = await register(client)
    (mail,) = await mails_of(app)
    assert mail["To"] == ADA
    before = await sign_in(client)
    verified = await client.put(f"/v1/email-verifications/{token_in(mail)}")
    assert outcome(before) == (401, "invalid_credentials")
    assert (verified.status_code, verified.json()["id"]) == (200, registered.json()["id"])
    assert verified.json()["emailVerified"] is True
    signed_in = await sign_in(client)
    assert signed_in.status_code == 201
    assert signed_in.json()["userId"] == registered.json()["id"]
