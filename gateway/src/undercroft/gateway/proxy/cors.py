"""Cross-origin rules for browser SDKs (Fetch standard): credentials travel in headers, so any origin may be let in."""

from collections.abc import Collection, Mapping
from typing import Final

from undercroft.gateway.proxy.headers import RawHeader
from undercroft.gateway.routes_table import Route

_ALLOWED_HEADERS = (
    b"Authorization, Content-Type, DPoP, If-Match, If-None-Match, Idempotency-Key, Last-Event-ID, "
    b"Request-Id, X-API-Key, X-Organization, traceparent, tracestate"
)
_EXPOSED_HEADERS = (
    b"ETag, Link, Location, RateLimit, RateLimit-Policy, Request-Id, Retry-After, WWW-Authenticate"
)
_MAX_AGE_SECONDS = b"7200"


class CorsRules:
    """Which origins may read the answers of a route."""

    def __init__(self, origins: Collection[str]) -> None:
        self._is_open = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers_for(self, origin: bytes) -> list[RawHeader]:
        """Return the headers of an actual answer to a browser."""
        if self._is_open:
            return [
                (b"access-control-allow-origin", b"*"),
                (b"access-control-expose-headers", _EXPOSED_HEADERS),
            ]
        if origin not in self._origins:
            return [(b"vary", b"Origin")]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
            (b"vary", b"Origin"),
        ]

    def preflight_headers(self, origin: bytes, methods: str) -> list[RawHeader]:
        """Return the headers of the answer to a preflight; without them the browser refuses."""
        allowed = self.headers_for(origin)
        if allowed[0][0] != b"access-control-allow-origin":
            return allowed
        return [
            *(header for header in allowed if header[0] != b"access-control-expose-headers"),
            (b"access-control-allow-methods", methods.encode("ascii")),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-max-age", _MAX_AGE_SECONDS),
            (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]


class CorsPolicies:
    """The rules of a route, by its word in the table: the listed origins, any, or none at all."""

    def __init__(self, origins: Collection[str]) -> None:
        self._rules: Final = {"listed": CorsRules(origins), "any": CorsRules(["*"]), "none": None}

    def of(self, route: Route) -> CorsRules | None:
        """Return a route's rules, or None when browsers may read its answers from its own origin only."""
        return self._rules[route.cors]


def preflight_method(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the method that a browser asks about before the actual request, or None when OPTIONS is no such question."""
    method = headers.get(b"access-control-request-method")
    return method.decode("latin-1") if method is not None and b"origin" in headers else None
