"""Sends waiting mails: at least once, by one replica at a time each, with waits between attempts."""

import asyncio
import random
from datetime import timedelta
from typing import Final

from undercroft.identity.clients.mail import MailSender
from undercroft.identity.clients.mail_messages import build_message
from undercroft.identity.dependencies.callers import utc_now
from undercroft.identity.dependencies.mail import mail_composer, mail_sealer
from undercroft.identity.domain.mails import MailText
from undercroft.identity.domain.sealing import SealBrokenError
from undercroft.identity.errors.accounts import UserNotFoundError
from undercroft.identity.errors.mail import MailPostponedError, MailRefusedError
from undercroft.identity.repository.mails import MAIL_CHANNEL, MailRepository, WaitingMail
from undercroft.identity.service.postbox import read_request
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.db import Database
from undercroft.shared.logs import get_logger
from undercroft.shared.notifications import NotificationListener

_BATCH: Final = 10
# Longer than a mail server is waited for, so that nobody else takes a mail that is being sent.
_LEASE: Final = timedelta(seconds=120)
_FIRST_WAIT_SECONDS: Final = 5.0
_LONGEST_WAIT_SECONDS: Final = 1_800.0
_LOOK_SECONDS: Final = 5.0

_logger = get_logger(__name__)


class MailRoom:
    """Composes and sends the mails of one database, `batch` of them at once."""

    def __init__(
        self, database: Database, settings: IdentitySettings, sender: MailSender, *, batch: int = _BATCH
    ) -> None:
        self._database = database
        self._settings = settings
        self._sender = sender
        self.batch = batch
        self._sealer = mail_sealer(settings)

    async def send_due(self) -> int:
        """Send what is due, a batch at a time; returns how many mails were taken on."""
        now = utc_now()
        async with self._database.begin() as session:
            claimed = await MailRepository(session).claim(now=now, lease_until=now + _LEASE, limit=self.batch)
        await asyncio.gather(*(self._handle(mail) for mail in claimed))
        return len(claimed)

    async def _handle(self, mail: WaitingMail) -> None:
        try:
            text = await self._compose(mail)
            # No transaction is open while a mail server is waited for.
            if text is not None:
                await self._send(mail, text)
        except MailPostponedError as error:
            wait = _wait_seconds(mail.attempts)
            _logger.warning(
                "mail postponed",
                mail=str(mail.id),
                attempts=mail.attempts,
                wait_seconds=wait,
                error=str(error),
            )
            async with self._database.begin() as session:
                until = utc_now() + timedelta(seconds=wait)
                await MailRepository(session).postpone(mail.id, until=until)
            return
        except MailRefusedError as error:
            _logger.warning("mail refused", mail=str(mail.id), error=str(error))
        except (SealBrokenError, UserNotFoundError) as error:
            # The secret key was changed, or whom it is about is gone: it can never be sent.
            _logger.warning("mail dropped", mail=str(mail.id), reason=type(error).__name__)
        async with self._database.begin() as session:
            await MailRepository(session).remove(mail.id)

    async def _compose(self, mail: WaitingMail) -> MailText | None:
        request = read_request(self._sealer.open(mail.content, place=mail.id.bytes))
        async with self._database.begin() as session:
            return await mail_composer(self._settings, session).compose(mail.recipient, request)

    async def _send(self, mail: WaitingMail, text: MailText) -> None:
        settings = self._settings
        message = build_message(
            text,
            mail_id=mail.id,
            recipient=mail.recipient,
            sender=settings.mail_from,
            brand=settings.branding_name,
            now=utc_now(),
        )
        await self._sender.send(message)


async def keep_sending_mails(room: MailRoom, notifications: NotificationListener) -> None:
    """Send mails when they are asked for, and look now and then for those that wait; for ever."""
    with notifications.subscribe(MAIL_CHANNEL) as wake_ups:
        while True:
            if await room.send_due() < room.batch:
                await wake_ups.wait(_LOOK_SECONDS)


def _wait_seconds(attempts: int) -> float:
    full = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** min(attempts - 1, 32))
    return round(full * random.uniform(0.5, 1.0), 1)  # noqa: S311 - spreads attempts, guards nothing
