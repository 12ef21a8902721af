"""Second factors that are typed: time-based codes (RFC 6238) and recovery codes."""

import base64
import hashlib
import hmac
import re
import secrets
from datetime import datetime
from typing import Final

from pyotp import TOTP, random_base32

STEP_SECONDS: Final = 30
RECOVERY_CODES: Final = 10

_STEPS_ASIDE: Final = 1  # RFC 6238 section 5.2: one step for clocks and fingers
_CODE = re.compile(r"[0-9]{6}")
_RECOVERY_BYTES: Final = 10
_GROUP: Final = 4


def new_totp_secret() -> str:
    """Return a fresh secret of 160 bits in base32, as RFC 4226 section 4 recommends."""
    return random_base32()


def totp_uri(secret: str, *, account: str, issuer: str) -> str:
    """Return the `otpauth://` address that authenticator apps read from a QR code."""
    return TOTP(secret, interval=STEP_SECONDS).provisioning_uri(name=account, issuer_name=issuer)


def matching_step(secret: str, code: str, *, now: datetime, after: int | None) -> int | None:
    """Return the time step that a code belongs to, None for a wrong code or one of a step not later than `after`."""
    digits = code.replace(" ", "")
    if not _CODE.fullmatch(digits):
        return None
    totp = TOTP(secret, interval=STEP_SECONDS)
    current = int(now.timestamp()) // STEP_SECONDS
    steps = range(current - _STEPS_ASIDE, current + _STEPS_ASIDE + 1)
    matches = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), digits)]
    return max((step for step in matches if after is None or step > after), default=None)


def new_recovery_codes() -> list[str]:
    """Return fresh recovery codes of 80 bits each, in groups that are easy to copy."""
    return [_grouped(secrets.token_bytes(_RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]


def recovery_code_hash(code: str) -> bytes:
    """Return what is stored of a recovery code; spaces, dashes and case do not count. Its entropy makes it enough."""
    return hashlib.sha256(re.sub(r"[\s-]", "", code).lower().encode()).digest()


def _grouped(content: bytes) -> str:
    text = base64.b32encode(content).decode().lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))
