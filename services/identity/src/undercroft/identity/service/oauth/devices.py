"""Devices without a browser (RFC 8628): they show a code, and poll until somebody has decided about it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.domain.oauth import audiences, scopes
from undercroft.identity.domain.oauth.tokens import TokenPair, hash_secret, new_secret
from undercroft.identity.domain.oauth.user_codes import new_user_code, read_user_code
from undercroft.identity.errors.oauth import (
    AccessDeniedError,
    AuthorizationPendingError,
    ExpiredTokenError,
    InvalidGrantError,
    SlowDownError,
)
from undercroft.identity.models.oauth import DeviceCode
from undercroft.identity.repository.oauth.devices import DeviceRepository
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.service.attempts import Attempts
from undercroft.identity.service.tokens import TokenRequest, TokenService

_NOT_VALID: Final = "The device code is unknown, used or another client's."
_SLOWER_BY_SECONDS: Final = 5
# 34 bits at this pace: a thousand addresses would guess one of a thousand open codes in years.
_TYPED_CODES: Final = AttemptLimit("device-user-code", free=10, window_seconds=900, longest_wait_seconds=300)


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """What settings say about devices; times in seconds."""

    life_seconds: int
    interval_seconds: int
    known_resources: frozenset[str]


@dataclass(frozen=True, slots=True)
class StartedDevice:
    """What a device shows and polls with."""

    device_code: str
    user_code: str
    expires_in: int
    interval: int


class DeviceService:
    """Use cases of device authorization."""

    def __init__(
        self,
        devices: DeviceRepository,
        grants: GrantRepository,
        tokens: TokenService,
        policy: DevicePolicy,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._devices = devices
        self._grants = grants
        self._tokens = tokens
        self._policy = policy
        self._clock = clock

    async def start(self, request: TokenRequest) -> StartedDevice:
        """Make the codes of a device; raises `InvalidScopeError` and `InvalidTargetError`."""
        granted = scopes.delegated(request.scope, request.client.scopes)
        resources = audiences.requested(request.resources, self._policy.known_resources)
        device_code, user_code = new_secret(), new_user_code()
        row = DeviceCode(
            device_code_hash=hash_secret(device_code),
            user_code=user_code,
            client_id=request.client.row_id,
            scopes=sorted(granted),
            resources=list(resources),
            status="pending",
            interval_seconds=self._policy.interval_seconds,
            expires_at=self._clock() + timedelta(seconds=self._policy.life_seconds),
        )
        await self._devices.add(row)
        return StartedDevice(device_code, user_code, self._policy.life_seconds, row.interval_seconds)

    async def poll(self, device_code: str, request: TokenRequest) -> TokenPair:
        """Return tokens once somebody has allowed it.

        Raises `AuthorizationPendingError`, `SlowDownError`, `AccessDeniedError`, `ExpiredTokenError` and
        `InvalidGrantError`.
        """
        row = await self._devices.find_locked(hash_secret(device_code))
        if row is None or row.client_id != request.client.id:
            raise InvalidGrantError(_NOT_VALID)
        now = self._clock()
        if row.expires_at <= now:
            raise ExpiredTokenError("Nobody has entered the code in time.")
        if row.status == "denied":
            raise AccessDeniedError("Somebody has refused this device.")
        if row.status == "pending":
            await self._wait(row, now)
        grant = None if row.grant_id is None else await self._grants.find(row.grant_id)
        if grant is None:
            raise InvalidGrantError(_NOT_VALID)
        if not request.client.is_confidential:
            grant.dpop_thumbprint = request.thumbprint
        await self._devices.remove(row)
        return await self._tokens.issue(grant, request)

    async def _wait(self, row: DeviceCode, now: datetime) -> None:
        is_early = row.polled_at is not None and now - row.polled_at < timedelta(seconds=row.interval_seconds)
        row.polled_at = now
        if is_early:
            row.interval_seconds += _SLOWER_BY_SECONDS
        await self._devices.save()
        if is_early:
            raise SlowDownError("Poll less often.")
        raise AuthorizationPendingError("Nobody has decided yet.")


class TypedCodes:
    """Finds what somebody entered the code of; guessing has to wait."""

    def __init__(
        self, devices: DeviceRepository, attempts: Attempts, *, clock: Callable[[], datetime]
    ) -> None:
        self._devices = devices
        self._attempts = attempts
        self._clock = clock

    async def find(self, typed: str, *, address: str, lock: bool = False) -> DeviceCode | None:
        """Return the pending device of a code, None when there is none; raises `TooManyAttemptsError`."""
        await self._attempts.begin(_TYPED_CODES, address)
        user_code = read_user_code(typed)
        row = None if user_code is None else await self._devices.find_by_user_code(user_code, lock=lock)
        if row is None or row.status != "pending" or row.expires_at <= self._clock():
            return None
        await self._attempts.forgive(_TYPED_CODES, address)
        return row
