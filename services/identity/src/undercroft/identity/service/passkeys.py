"""Passkeys (WebAuthn level 2): registered by somebody signed in, then enough by themselves to sign in.

The challenge travels in a sealed state instead of a row, so that asking for options writes nothing; each state is
accepted once.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import generate_challenge
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from undercroft.identity.domain.sealing import SealBrokenError, Sealer
from undercroft.identity.domain.sign_in import Device, Method, Person
from undercroft.identity.errors.accounts import (
    InvalidCredentialsError,
    PasskeyLimitError,
    PasskeyRefusedError,
)
from undercroft.identity.events.users import user_event, user_subject
from undercroft.identity.models.users import Passkey, User
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.passkeys import PasskeyRepository
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.schemas.sessions import PasskeyOptions
from undercroft.identity.service.attempts import Attempts
from undercroft.identity.service.postbox import Postbox
from undercroft.identity.service.sessions import SessionService
from undercroft.identity.service.sign_in import SignedInUser, SignInService
from undercroft.shared.ids import new_uuid7
from undercroft.shared.serialization import JsonValue, dumps, loads

_STATE_LIFE: Final = timedelta(minutes=5)
_REGISTRATION: Final = b"passkey-registration"
_AUTHENTICATION: Final = b"passkey-authentication"
_METHODS: Final = (Method.POSSESSION, Method.PRESENCE, Method.SEVERAL_FACTORS)
# What the library raises for an answer that is not what it seems, besides its own.
_MALFORMED: Final = (WebAuthnException, ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True, slots=True)
class PasskeyPolicy:
    """What settings say about passkeys; the relying party is the issuer's host."""

    issuer: str
    brand: str
    most: int

    @property
    def relying_party(self) -> str:
        """The host that passkeys are bound to."""
        return urlsplit(self.issuer).hostname or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PasskeyTools:
    """What passkeys work with."""

    passkeys: PasskeyRepository
    users: UserRepository
    events: EventRepository
    postbox: Postbox
    attempts: Attempts
    sealer: Sealer
    sessions: SessionService
    sign_in: SignInService


class PasskeyService:
    """Use cases of passkeys."""

    def __init__(self, tools: PasskeyTools, policy: PasskeyPolicy, *, clock: Callable[[], datetime]) -> None:
        self._tools = tools
        self._policy = policy
        self._clock = clock

    async def registration_options(self, person: Person) -> PasskeyOptions:
        """Return the options for a new passkey; raises `RecentSignInRequiredError` and `PasskeyLimitError`."""
        await self._tools.sessions.require_recent(person)
        known = await self._tools.passkeys.list(person.user_id)
        if len(known) >= self._policy.most:
            raise PasskeyLimitError(f"There are {self._policy.most} passkeys already; remove one first.")
        user = await self._tools.users.get(person.user_id)
        challenge = generate_challenge()
        options = generate_registration_options(
            rp_id=self._policy.relying_party,
            rp_name=self._policy.brand,
            user_id=user.id.bytes,
            user_name=user.email,
            user_display_name=user.name,
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=each.credential_id) for each in known],
        )
        state = self._seal(_REGISTRATION, challenge, user_id=user.id)
        return PasskeyOptions(state=state, public_key=json.loads(options_to_json(options)))

    async def register(
        self, person: Person, *, state: str, credential: Mapping[str, JsonValue], name: str
    ) -> Passkey:
        """Keep a passkey; raises `PasskeyRefusedError`, `PasskeyKnownError` and `PasskeyLimitError`."""
        challenge, user_id = await self._open(_REGISTRATION, state)
        if user_id != person.user_id:
            raise PasskeyRefusedError("These options were not made for you. Begin again.")
        try:
            verified = verify_registration_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=self._policy.relying_party,
                expected_origin=self._policy.issuer,
                require_user_verification=True,
            )
        except _MALFORMED:
            raise PasskeyRefusedError("The passkey does not fit the options. Begin again.") from None
        user = await self._tools.users.get_locked(person.user_id)
        if await self._tools.passkeys.count(user.id) >= self._policy.most:
            raise PasskeyLimitError(f"There are {self._policy.most} passkeys already; remove one first.")
        passkey = Passkey(
            id=new_uuid7(),
            user_id=user.id,
            credential_id=verified.credential_id,
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            transports=_transports(credential),
            name=name,
        )
        await self._tools.passkeys.add(passkey)
        await self._tell(user.id)
        await self._tools.postbox.tell(user, f"A passkey was added to your account: {name}.")
        return passkey

    async def list(self, person: Person) -> Sequence[Passkey]:
        """Return one's own passkeys."""
        return await self._tools.passkeys.list(person.user_id)

    async def rename(self, person: Person, passkey_id: UUID, name: str) -> Passkey:
        """Rename a passkey; raises `PasskeyNotFoundError`."""
        passkey = await self._tools.passkeys.get(passkey_id, user_id=person.user_id)
        passkey.name = name
        await self._tools.passkeys.save()
        return passkey

    async def remove(self, person: Person, passkey_id: UUID) -> None:
        """Delete a passkey; raises `PasskeyNotFoundError`."""
        passkey = await self._tools.passkeys.get(passkey_id, user_id=person.user_id)
        user = await self._tools.users.get(person.user_id)
        await self._tools.passkeys.remove(passkey)
        await self._tell(user.id)
        await self._tools.postbox.tell(user, f"A passkey was removed from your account: {passkey.name}.")

    def sign_in_options(self) -> PasskeyOptions:
        """Return the options with which a browser asks for any passkey of this host."""
        challenge = generate_challenge()
        options = generate_authentication_options(
            rp_id=self._policy.relying_party,
            challenge=challenge,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        state = self._seal(_AUTHENTICATION, challenge, user_id=None)
        return PasskeyOptions(state=state, public_key=json.loads(options_to_json(options)))

    async def sign_in(
        self, *, state: str, credential: Mapping[str, JsonValue], device: Device
    ) -> SignedInUser:
        """Open a session; raises `InvalidCredentialsError`, `PasskeyRefusedError` and `UserDisabledError`."""
        challenge, _ = await self._open(_AUTHENTICATION, state)
        passkey = await self._tools.passkeys.find_by_credential(_credential_id(credential))
        if passkey is None:
            raise InvalidCredentialsError("This passkey is not known here.")
        try:
            verified = verify_authentication_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=self._policy.relying_party,
                expected_origin=self._policy.issuer,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except _MALFORMED:
            raise InvalidCredentialsError("The passkey does not fit the options.") from None
        passkey.sign_count = verified.new_sign_count
        passkey.last_used_at = self._clock()
        user: User = await self._tools.users.get_locked(passkey.user_id)
        return await self._tools.sign_in.open(user, methods=_METHODS, device=device)

    def _seal(self, place: bytes, challenge: bytes, *, user_id: UUID | None) -> str:
        plain = dumps(
            {
                "challenge": challenge.hex(),
                "user": None if user_id is None else user_id.hex,
                "until": (self._clock() + _STATE_LIFE).timestamp(),
            }
        )
        return base64.urlsafe_b64encode(self._tools.sealer.seal(plain, place=place)).rstrip(b"=").decode()

    async def _open(self, place: bytes, state: str) -> tuple[bytes, UUID | None]:
        try:
            sealed = base64.urlsafe_b64decode(state.encode("ascii") + b"=" * (-len(state) % 4))
            members: Any = loads(self._tools.sealer.open(sealed, place=place))  # sealed by us
        except (SealBrokenError, binascii.Error, ValueError):
            raise PasskeyRefusedError("The state is not one of ours. Begin again.") from None
        is_over = members["until"] <= self._clock().timestamp()
        life = _STATE_LIFE.total_seconds()
        if is_over or not await self._tools.attempts.use_once("passkey", state, life_seconds=life):
            raise PasskeyRefusedError("This took too long, or was sent twice. Begin again.")
        user = members["user"]
        return bytes.fromhex(members["challenge"]), None if user is None else UUID(hex=user)

    async def _tell(self, user_id: UUID) -> None:
        await self._tools.events.add(
            user_event("updated", user_id, actor=user_subject(user_id), changed=("passkeys",))
        )


def _credential_id(credential: Mapping[str, JsonValue]) -> bytes:
    text = credential.get("rawId")
    try:
        return base64.urlsafe_b64decode(str(text).encode("ascii") + b"=" * (-len(str(text)) % 4))
    except (binascii.Error, ValueError):
        return b""


def _transports(credential: Mapping[str, JsonValue]) -> list[str]:
    response = credential.get("response")
    named = response.get("transports") if isinstance(response, dict) else None
    return [str(each)[:32] for each in named[:10]] if isinstance(named, list) else []
