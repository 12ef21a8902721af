"""Where mails go: to a mail server, or into a directory where a developer finds them."""

import asyncio
import os
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from aiosmtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException
from pydantic import SecretStr

from undercroft.identity.errors.mail import MailPostponedError, MailRefusedError
from undercroft.shared.logs import get_logger

TIMEOUT_SECONDS: Final = 30.0

_DEFAULT_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_PERMANENT: Final = range(500, 600)
# Answers to the address or the content; others of 5xx (such as 535) say that our settings are wrong.
_ABOUT_THE_MAIL: Final = frozenset({550, 551, 552, 553, 554})

_logger = get_logger(__name__)


class MailSender(Protocol):
    """Takes mails."""

    async def send(self, message: EmailMessage) -> None:
        """Hand a mail over; raises `MailPostponedError` and `MailRefusedError`."""


class SmtpSender:
    """Hands each mail to the server of an address such as `smtp+starttls://user:password@host:587`."""

    def __init__(self, url: SecretStr, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds

    async def send(self, message: EmailMessage) -> None:
        """Hand a mail over; raises `MailPostponedError` and `MailRefusedError`."""
        try:
            # The client's own limit is for each command; this one is for all of them.
            async with asyncio.timeout(self._timeout_seconds), self._connection() as connection:
                await connection.send_message(message)
        except SMTPRecipientsRefused as error:
            codes = {refused.code for refused in error.recipients}
            raise _failure(max(codes, default=0), error) from error
        except SMTPResponseException as error:
            raise _failure(error.code, error) from error
        except (SMTPException, OSError, TimeoutError) as error:
            raise MailPostponedError(f"{type(error).__name__}: {error}") from error

    def _connection(self) -> SMTP:
        parts = urlsplit(self._url.get_secret_value())
        return SMTP(
            hostname=parts.hostname,
            port=parts.port or _DEFAULT_PORTS[parts.scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            use_tls=parts.scheme == "smtps",
            start_tls=parts.scheme == "smtp+starttls",
            timeout=self._timeout_seconds,
        )


class DirectorySender:
    """Writes each mail to a file of its own, for development and for tests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, message: EmailMessage) -> None:
        """Write a mail to `<time>-<id>.eml`; raises `MailPostponedError`."""
        try:
            path = await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise MailPostponedError(f"{self._directory}: {error.strerror}") from error
        _logger.info("mail written", path=str(path))

    def _write(self, message: EmailMessage) -> Path:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        moment = message["Date"].datetime.strftime("%Y%m%dT%H%M%SZ")
        mail_id = str(message["Message-ID"]).strip("<>").partition("@")[0]
        path = self._directory / f"{moment}-{mail_id}.eml"
        unfinished = path.with_suffix(".part")
        # Whoever looks for *.eml never sees half a mail; it holds a secret link, so it is for its owner only.
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(message.as_bytes())
        unfinished.replace(path)
        return path


class NoSender:
    """Keeps every mail waiting: neither a server nor a directory is configured."""

    async def send(self, message: EmailMessage) -> None:
        """Raise `MailPostponedError`."""
        del message
        raise MailPostponedError("neither IDENTITY_SMTP_URL nor IDENTITY_MAIL_DIRECTORY is set")


def make_sender(smtp_url: SecretStr | None, directory: Path | None) -> MailSender:
    """Return the sender that the settings describe."""
    if smtp_url is not None:
        return SmtpSender(smtp_url)
    return NoSender() if directory is None else DirectorySender(directory)


def _failure(code: int, error: Exception) -> MailPostponedError | MailRefusedError:
    # The text may repeat the address, which logs do not need; its code is enough.
    if code in _PERMANENT and code in _ABOUT_THE_MAIL:
        return MailRefusedError(f"answered {code}")
    return MailPostponedError(f"{type(error).__name__}: answered {code}")
