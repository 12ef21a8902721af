"""Mails on their way out: what they look like, files, a mail server, failures and retries."""

import asyncio
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from services.identity.tests.people import ADA, Mailbox, register
from sqlalchemy import select, update

from undercroft.identity.clients.mail import DirectorySender, NoSender, SmtpSender, make_sender
from undercroft.identity.clients.mail_messages import build_message
from undercroft.identity.dependencies.mail import postbox
from undercroft.identity.domain.mails import MailKind, MailText
from undercroft.identity.errors.mail import MailPostponedError, MailRefusedError
from undercroft.identity.models.users import Mail
from undercroft.identity.worker.accounts import prune_accounts
from undercroft.identity.worker.mails import MailRoom
from undercroft.shared.db import Database
from undercroft.shared.ids import new_uuid7
from undercroft.shared.testing import raw_server

TEXT = MailText("Grüße\r\nBcc: eve@example.com", "Hello <b>,", ("One & two.",), "http://x/?a=1&b=2", "Go")


def message(text: MailText = TEXT) -> EmailMessage:
    return build_message(
        text,
        mail_id=new_uuid7(),
        recipient=ADA,
        sender="Ünder <no-reply@example.com>",
        brand="Undercroft",
        now=datetime(2026, 11, 1, tzinfo=UTC),
    )


def test_a_mail_is_text_and_html_and_nobody_breaks_out_of_its_headers():
    parsed = message_from_bytes(message().as_bytes(), policy=default)
    plain, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert parsed["Subject"] == "Grüße  Bcc: eve@example.com"
    assert parsed["Bcc"] is None
    assert (parsed["To"], parsed["Auto-Submitted"]) == (ADA, "auto-generated")
    assert "One & two." in plain.get_content()
    assert "Hello &lt;b&gt;," in html.get_content()


async def waiting(database: Database) -> list[Mail]:
    async with database.session() as session:
        return list(await session.scalars(select(Mail)))


async def due_now(database: Database) -> None:
    async with database.begin() as session:
        await session.execute(update(Mail).values(due_at=datetime(2026, 1, 1, tzinfo=UTC)))


async def test_a_mail_that_could_not_be_sent_waits_longer_each_time_and_is_sent_at_last(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    await register(client)
    mailbox = Mailbox(MailPostponedError("away"), MailPostponedError("away"))
    room = MailRoom(database, app.state.settings, mailbox, batch=1)
    for attempt in (1, 2):
        assert await room.send_due() == 1
        (mail,) = await waiting(database)
        assert mail.attempts == attempt
        assert await room.send_due() == 0
        await due_now(database)
    assert await room.send_due() == 1
    assert await waiting(database) == []
    assert len(mailbox.messages) == 1


async def test_a_mail_that_is_refused_for_good_is_given_up(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    await register(client)
    await MailRoom(database, app.state.settings, Mailbox(MailRefusedError("550")), batch=1).send_due()
    assert await waiting(database) == []


async def test_a_mail_that_cannot_be_read_or_is_about_nobody_is_dropped(app: FastAPI, database: Database):
    async with database.begin() as session:
        await postbox(app.state.settings, session).put(
            ADA, MailKind.EMAIL_CHANGE, user_id="01890a5d-ac96-774b-bcce-b302099a8057"
        )
        session.add(Mail(recipient=ADA, content=b"nonsense", expires_at=datetime(2100, 1, 1, tzinfo=UTC)))
    mailbox = Mailbox()
    room = MailRoom(database, app.state.settings, mailbox, batch=1)
    while await room.send_due():
        pass
    assert (await waiting(database), mailbox.messages) == ([], [])


async def test_what_waits_is_sealed_and_expires(client: httpx.AsyncClient, app: FastAPI, database: Database):
    await register(client)
    (mail,) = await waiting(database)
    assert b"token" not in mail.content
    clock = app.state.clock
    app.state.clock = lambda: clock() + timedelta(days=2)
    async with database.begin() as session:
        await prune_accounts(app, session)
    assert await waiting(database) == []


async def test_files_appear_whole_and_for_their_owner_only(tmp_path: Path):
    directory = tmp_path / "mail"
    await DirectorySender(directory).send(message())
    (file,) = directory.iterdir()
    assert file.name.startswith("20261101T000000Z-")
    assert file.suffix == ".eml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert message_from_bytes(file.read_bytes(), policy=default)["To"] == ADA


async def test_a_directory_that_cannot_be_written_postpones(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MailPostponedError, match="file"):
        await DirectorySender(tmp_path / "file").send(message())


async def test_without_any_way_out_mails_wait():
    with pytest.raises(MailPostponedError, match="IDENTITY_SMTP_URL"):
        await make_sender(None, None).send(message())
    assert isinstance(make_sender(SecretStr("smtp://localhost"), Path()), SmtpSender)
    assert isinstance(make_sender(None, Path()), DirectorySender)
    assert isinstance(make_sender(None, None), NoSender)


class Server:
    """Speaks enough SMTP; answers RCPT with what it is told to."""

    def __init__(self, recipient: str = "250 ok", data: str = "250 taken") -> None:
        self.recipient = recipient
        self.data = data
        self.received: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                self.received.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(f"{self.data}\r\n".encode())
            elif verb == b"RCPT":
                writer.write(f"{self.recipient}\r\n".encode())
            else:
                writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


async def test_a_mail_server_gets_the_mail():
    server = Server()
    async with raw_server(server) as port:
        await SmtpSender(SecretStr(f"smtp://127.0.0.1:{port}")).send(message())
    assert b"To: ada@example.com" in server.received[0]


@pytest.mark.parametrize(
    ("server", "failure"),
    [
        (Server(recipient="550 no such mailbox"), MailRefusedError),
        (Server(recipient="450 try later"), MailPostponedError),
        (Server(data="554 looks like spam"), MailRefusedError),
        (Server(data="451 try later"), MailPostponedError),
    ],
)
async def test_answers_of_a_mail_server(server: Server, failure: type[Exception]):
    async with raw_server(server) as port:
        with pytest.raises(failure):
            await SmtpSender(SecretStr(f"smtp://127.0.0.1:{port}")).send(message())


async def test_a_mail_server_that_is_away_or_silent_postpones():
    with pytest.raises(MailPostponedError):
        await SmtpSender(SecretStr("smtps://user:p%40ss@127.0.0.1:1")).send(message())

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(silent) as port:
        with pytest.raises(MailPostponedError):
            await SmtpSender(SecretStr(f"smtp://127.0.0.1:{port}"), timeout_seconds=0.2).send(message())
