"""Where a request comes from, and the cookies that a browser keeps for this service."""

import ipaddress
import re
from typing import Annotated, Final

from fastapi import Depends, Request, Response

from undercroft.identity.domain.cookies import cookie_name
from undercroft.identity.domain.sign_in import Device
from undercroft.identity.service.sign_in import SignedInUser
from undercroft.identity.settings import IdentitySettings

SESSION_COOKIE: Final = "undercroft_session"
_DEVICE_COOKIE: Final = "undercroft_device"
_DEVICE_COOKIE_SECONDS: Final = 365 * 86_400
_IPV6_HOUSEHOLD_BITS: Final = 64
_LONGEST_COOKIE: Final = 128
# `for=192.0.2.43` or `for="[2001:db8::1]:4711"` (RFC 7239 section 4).
_FORWARDED_FOR = re.compile(
    r'(?:^|;)\s*for=(?:"\[([0-9A-Fa-f:.]+)\](?::\d+)?"|"?([0-9.]+)(?::\d+)?"?)', re.IGNORECASE
)


def device(request: Request) -> Device:
    """Return the device behind a request."""
    settings: IdentitySettings = request.app.state.settings
    return Device(
        address=client_address(request),
        user_agent=request.headers.get("user-agent", ""),
        known_device=request.cookies.get(cookie_name(_DEVICE_COOKIE, is_https=settings.is_https)),
    )


def client_address(request: Request) -> str:
    """Return the caller's address as the gateway saw it; of IPv6 the network, since one household has a whole one.

    Services are reached only through the gateway, which writes `Forwarded` itself: the last element is its own.
    """
    last = request.headers.get("forwarded", "").rpartition(",")[2]
    match = _FORWARDED_FOR.search(last)
    text = (match[1] or match[2]) if match else (request.client.host if request.client else "")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_HOUSEHOLD_BITS), strict=False))
    return str(address)


def session_secret(request: Request) -> str | None:
    """Return the secret of the session's cookie."""
    settings: IdentitySettings = request.app.state.settings
    secret = request.cookies.get(cookie_name(SESSION_COOKIE, is_https=settings.is_https))
    return secret if secret and len(secret) <= _LONGEST_COOKIE else None


def remember_sign_in(request: Request, response: Response, signed_in: SignedInUser) -> None:
    """Set the cookies of a session and of the browser that it was opened in."""
    settings: IdentitySettings = request.app.state.settings
    is_https = settings.is_https
    for name, value, seconds in (
        (SESSION_COOKIE, signed_in.session.secret, settings.session_life_days * 86_400),
        (_DEVICE_COOKIE, signed_in.known_device, _DEVICE_COOKIE_SECONDS),
    ):
        response.set_cookie(
            cookie_name(name, is_https=is_https),
            value,
            max_age=seconds,
            path="/",
            secure=is_https,
            httponly=True,
            samesite="lax",
        )


def forget_sign_in(request: Request, response: Response) -> None:
    """Delete the session's cookie. That the browser is known stays: it protects its owner from others' guesses."""
    settings: IdentitySettings = request.app.state.settings
    response.delete_cookie(
        cookie_name(SESSION_COOKIE, is_https=settings.is_https),
        path="/",
        secure=settings.is_https,
        httponly=True,
        samesite="lax",
    )


async def _device(request: Request) -> Device:
    return device(request)


DeviceDep = Annotated[Device, Depends(_device)]
