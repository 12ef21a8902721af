"""What a bulk answer says about live updates: where the caller's event stream is, with a token in its address.

The address is part of the answer, so the answer's validator covers it: OFREP's web provider keeps the address of the
last 200 and, when its stream is refused, asks again with `If-None-Match`. A 304 would send it back to a token that is
dead, for ever. The token is the same for half of its life; a validator of this half or the one before is good.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from urllib.parse import urlencode

import orjson

from undercroft.shared.auth import Principal
from undercroft.shared.ids import TypeId
from undercroft.shared.stream_tokens import STREAM_TOKEN_PARAMETER, StreamClaims, StreamTokenSigner

STREAM_PATH: Final = "/ofrep/v1/events"
SINCE_PARAMETER: Final = "since"

_REMEMBERED: Final = 10_000
_MARK_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is announced to one caller for a time.

    `marks` are what validators of its answers may end with: the present one, and that of the slot before.
    """

    slot: int
    marks: tuple[str, str]
    _head: bytes
    _tail: bytes

    def extend(self, body: bytes, *, version: str) -> bytes:
        """Put the stream into a bulk answer, an object with members, from `version` of the flags on."""
        return body[:-1] + self._head + version.encode() + self._tail


class Announcer:
    """Makes and remembers announcements."""

    def __init__(
        self,
        signer: StreamTokenSigner,
        *,
        life_seconds: float,
        inactivity_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._signer = signer
        self._slot_seconds = max(1, int(life_seconds / 2))
        self._clock = clock
        self._tail = b'"},"inactivityDelaySec":%d}]}' % inactivity_seconds
        self._known: dict[tuple[Principal, str], Announcement] = {}

    def announce(self, principal: Principal, environment: str) -> Announcement | None:
        """Return what to announce to a caller, or None when this deployable shares no key with the gateway."""
        slot = int(self._clock()) // self._slot_seconds
        known = self._known.get((principal, environment))
        if known is not None and known.slot == slot:
            return known
        if not self._signer.can_sign:
            return None
        if len(self._known) >= _REMEMBERED:
            self._known.pop(next(iter(self._known)))
        made = self._known[principal, environment] = self._make(principal, environment, slot)
        return made

    def _make(self, principal: Principal, environment: str, slot: int) -> Announcement:
        token = self._token(principal, environment, slot)
        earlier = self._token(principal, environment, slot - 1)
        query = urlencode({STREAM_TOKEN_PARAMETER: token, SINCE_PARAMETER: ""})
        uri = orjson.dumps(f"{STREAM_PATH}?{query}")[:-1]
        head = b',"eventStreams":[{"type":"sse","endpoint":{"requestUri":' + uri
        return Announcement(slot, (_mark(token), _mark(earlier)), head, self._tail)

    def _token(self, principal: Principal, environment: str, slot: int) -> str:
        """Return the token of a slot: good from its beginning to the end of the next one."""
        organization = principal.organization_id
        issued_at = slot * self._slot_seconds
        return self._signer.sign(
            StreamClaims(
                subject=principal.subject,
                environment=environment,
                organization=str(TypeId("org", organization)) if organization else None,
                grant_id=principal.grant_id,
                issued_at=issued_at,
                expires_at=issued_at + 2 * self._slot_seconds,
            )
        )


def _mark(token: str) -> str:
    return blake2b(token.encode(), digest_size=_MARK_BYTES).hexdigest()
