"""What survives in the browser while somebody signs in or decides: sealed, so that nobody writes it themselves."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from undercroft.identity.domain.oauth.parameters import Parameters
from undercroft.identity.domain.sealing import SealBrokenError, Sealer
from undercroft.identity.errors.pages import FormExpiredError
from undercroft.shared.serialization import dumps, loads

_ASKED: Final = b"asked to sign in "
_DECISION: Final = b"decision"


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that somebody is deciding about, in one session."""

    parameters: Parameters
    request_uri: str | None
    session_id: UUID


def seal_asked_at(sealer: Sealer, client_id: str, moment: datetime) -> str:
    """Write down when somebody was sent to sign in for a client."""
    return _encode(sealer.seal(moment.isoformat().encode(), place=_ASKED + client_id.encode()))


def open_asked_at(sealer: Sealer, client_id: str, text: str | None) -> datetime | None:
    """Read when somebody was sent to sign in, None for what was not written here."""
    try:
        content = sealer.open(_decode(text or ""), place=_ASKED + client_id.encode())
    except (SealBrokenError, binascii.Error, ValueError):
        return None
    return datetime.fromisoformat(content.decode())


def seal_pending(sealer: Sealer, pending: Pending) -> str:
    """Write down what somebody is deciding about."""
    content = {
        "values": dict(pending.parameters.values),
        "resources": list(pending.parameters.resources),
        "request_uri": pending.request_uri,
        "session": pending.session_id.hex,
    }
    return _encode(sealer.seal(dumps(content), place=_DECISION))


def open_pending(sealer: Sealer, text: str, *, session_id: UUID) -> Pending:
    """Read what somebody is deciding about; raises `FormExpiredError` for another session's."""
    try:
        content = cast("Mapping[str, Any]", loads(sealer.open(_decode(text), place=_DECISION)))
    except (SealBrokenError, binascii.Error, ValueError):
        raise _expired() from None
    if content["session"] != session_id.hex:
        raise _expired()
    parameters = Parameters(content["values"], tuple(content["resources"]))
    return Pending(parameters, content["request_uri"], session_id)


def _expired() -> FormExpiredError:
    return FormExpiredError("This page is from an earlier visit. Go back to the application and start again.")


def _encode(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
