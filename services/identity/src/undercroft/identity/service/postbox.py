"""Asking for mails: a row in the transaction that wants one, sealed because links in it open accounts."""

from collections.abc import Callable
from datetime import datetime, timedelta

from undercroft.identity.domain.mails import MailKind, MailRequest
from undercroft.identity.domain.sealing import Sealer
from undercroft.identity.models.users import Mail, User
from undercroft.identity.repository.mails import MailRepository
from undercroft.shared.ids import new_uuid7
from undercroft.shared.serialization import dumps, loads


class Postbox:
    """Takes mails that are sent when their transaction is committed."""

    def __init__(
        self, mails: MailRepository, sealer: Sealer, *, life: timedelta, clock: Callable[[], datetime]
    ) -> None:
        self._mails = mails
        self._sealer = sealer
        self._life = life
        self._clock = clock

    async def put(self, recipient: str, kind: MailKind, **values: str) -> None:
        """Ask for a mail."""
        mail_id = new_uuid7()
        content = dumps({"kind": kind, "values": values})
        now = self._clock()
        await self._mails.add(
            Mail(
                id=mail_id,
                recipient=recipient,
                content=self._sealer.seal(content, place=mail_id.bytes),
                due_at=now,
                expires_at=now + self._life,
            )
        )

    async def tell(self, user: User, what: str) -> None:
        """Tell somebody that their account's protection changed."""
        await self.put(user.email, MailKind.SECURITY_NOTICE, name=user.name, what=what)


def read_request(content: bytes) -> MailRequest:
    """Return what `Postbox.put` was asked."""
    members = loads(content)
    if not isinstance(members, dict) or not isinstance(values := members["values"], dict):
        raise TypeError("a mail's content is an object")
    return MailRequest(MailKind(str(members["kind"])), {name: str(value) for name, value in values.items()})
