"""Who is calling: the signed principal that passes between deployables, and what routes demand of it."""

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeAlias, cast
from uuid import UUID

from fastapi import Depends, Request
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from pydantic import SecretStr
from starlette.requests import HTTPConnection

from undercroft.shared.errors import ForbiddenError, NotFoundError, UnauthenticatedError
from undercroft.shared.ids import InvalidIdError, TypeId
from undercroft.shared.serialization import dumps, loads
from undercroft.shared.settings import SettingsError, derive_key

PRINCIPAL_HEADER: Final = "Undercroft-Principal"
PRINCIPAL_LIFE_SECONDS: Final = 60
OPERATOR_SCOPE: Final = "operator"
GATEWAY: Final = "gateway"

_CLOCK_SKEW_SECONDS = 5
_CACHED_PRINCIPALS = 10_000
_KEY_BYTES = 32

Kind: TypeAlias = Literal["user", "api_key", "client", "service", "operator"]
_KINDS: Final = frozenset({"user", "api_key", "client", "service", "operator"})


class Scope(StrEnum):
    """Every scope of the platform; `operator` holds all of them in every organization.

    `account` is a person's own account; only identity's own sign-in grants it.
    """

    IDENTITY_READ = "identity:read"
    IDENTITY_WRITE = "identity:write"
    IDENTITY_API_KEYS = "identity:api_keys"
    FLAGS_READ = "flags:read"
    FLAGS_WRITE = "flags:write"
    FLAGS_EVALUATE = "flags:evaluate"
    USAGE_READ = "usage:read"
    USAGE_WRITE = "usage:write"
    USAGE_INGEST = "usage:ingest"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    WEBHOOKS_SEND = "webhooks:send"
    ACCOUNT = "account"
    OPERATOR = OPERATOR_SCOPE


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    `subject` is the TypeID of the user, key or OAuth client, or the name of the service. `organization_id` is the one
    that a user acts in; it is None for the operator's own keys and for services, which are not bound to one, and for
    a user without any. `grant_id` is the TypeID of the grant behind a user's token.
    """

    subject: str
    kind: Kind
    organization_id: UUID | None = None
    scopes: frozenset[str] = field(default_factory=frozenset)
    environment: str | None = None
    plan: str | None = None
    grant_id: str | None = None

    @property
    def is_operator(self) -> bool:
        """Tell whether the caller may do everything, across organizations."""
        return OPERATOR_SCOPE in self.scopes

    def has_scope(self, scope: str) -> bool:
        """Tell whether a scope is held; the operator scope holds all."""
        return scope in self.scopes or OPERATOR_SCOPE in self.scopes

    def require_organization(self, organization_id: UUID) -> None:
        """Raise `NotFoundError`, never a 403, unless the caller may see this organization."""
        if self.organization_id != organization_id and not (
            self.is_operator and self.organization_id is None
        ):
            raise NotFoundError("There is no such organization.", code="organization_not_found")


class PrincipalKeys:
    """The pairwise HS256 keys that a deployable was given, by (issuer, audience)."""

    def __init__(self, keys: Mapping[str, SecretStr]) -> None:
        self._keys = {_split_pair(pair): _load_key(pair, value) for pair, value in keys.items()}

    def get(self, issuer: str, audience: str) -> OctKey | None:
        """Return the key of a pair, or None when this deployable was not given it."""
        return self._keys.get((issuer, audience))


class PrincipalSigner:
    """Signs principals in the name of one deployable; each header is reused for half of its life."""

    def __init__(self, issuer: str, keys: PrincipalKeys, *, clock: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._cache: dict[tuple[Principal, str], tuple[str, float]] = {}

    def header_for(self, principal: Principal, audience: str) -> str:
        """Return the compact JWS for `Undercroft-Principal`.

        Raises `LookupError` when no key for this audience was configured.
        """
        now = self._clock()
        cached = self._cache.get((principal, audience))
        if cached is not None and now < cached[1]:
            return cached[0]
        key = self._keys.get(self._issuer, audience)
        if key is None:
            raise LookupError(f"no principal key for {self._issuer}|{audience}")
        header = jws.serialize_compact({"alg": "HS256"}, dumps(self._claims(principal, audience, now)), key)
        if len(self._cache) >= _CACHED_PRINCIPALS:
            self._cache.pop(next(iter(self._cache)))
        self._cache[principal, audience] = (header, now + PRINCIPAL_LIFE_SECONDS / 2)
        return header

    def service_header_for(self, audience: str) -> str:
        """Return the header with which this deployable speaks for itself."""
        return self.header_for(Principal(subject=self._issuer, kind="service"), audience)

    def _claims(self, principal: Principal, audience: str, now: float) -> dict[str, object]:
        organization = principal.organization_id
        return {
            "iss": self._issuer,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + PRINCIPAL_LIFE_SECONDS,
            "sub": principal.subject,
            "kind": principal.kind,
            "org": str(TypeId("org", organization)) if organization else None,
            "scopes": sorted(principal.scopes),
            "env": principal.environment,
            "plan": principal.plan,
            "sid": principal.grant_id,
        }


class PrincipalVerifier:
    """Verifies principals addressed to one deployable.

    Only the gateway may speak for users, API keys and operators; any other issuer speaks only for itself.
    """

    def __init__(self, audience: str, keys: PrincipalKeys, *, clock: Callable[[], float] = time.time) -> None:
        self._audience = audience
        self._keys = keys
        self._clock = clock
        self._cache: dict[str, tuple[Principal, float]] = {}

    def verify(self, header: str) -> Principal:
        """Return the principal of a header.

        Raises `UnauthenticatedError` (`principal_invalid`) for a wrong signature, audience, issuer, life or claim.
        """
        now = self._clock()
        cached = self._cache.get(header)
        if cached is None:
            cached = self._verify(header)
            if len(self._cache) >= _CACHED_PRINCIPALS:
                self._cache.pop(next(iter(self._cache)))
            self._cache[header] = cached
        principal, expires_at = cached
        if now >= expires_at + _CLOCK_SKEW_SECONDS:
            self._cache.pop(header, None)
            raise _invalid("is expired")
        return principal

    def _verify(self, header: str) -> tuple[Principal, float]:
        try:
            unverified = jws.extract_compact(header.encode("ascii"))
            claims = loads(unverified.payload)
        except (JoseError, ValueError) as error:
            raise _invalid("is malformed") from error
        if not isinstance(claims, dict):
            raise _invalid("is malformed")
        issuer = claims.get("iss")
        key = self._keys.get(issuer, self._audience) if isinstance(issuer, str) else None
        if key is None or claims.get("aud") != self._audience:
            raise _invalid("is not addressed to this service by a known sender")
        try:
            jws.deserialize_compact(header, key, algorithms=["HS256"])
        except JoseError as error:
            raise _invalid("has a wrong signature") from error
        return _principal_from(claims, cast("str", issuer)), self._expiry(claims)

    def _expiry(self, claims: Mapping[str, object]) -> float:
        issued_at, expires_at = claims.get("iat"), claims.get("exp")
        if not isinstance(issued_at, int) or not isinstance(expires_at, int):
            raise _invalid("has no life")
        if expires_at - issued_at > PRINCIPAL_LIFE_SECONDS or issued_at > self._clock() + _CLOCK_SKEW_SECONDS:
            raise _invalid("has an impossible life")
        return float(expires_at)


def _principal_from(claims: Mapping[str, object], issuer: str) -> Principal:
    subject, kind, organization = claims.get("sub"), claims.get("kind"), claims.get("org")
    scopes, environment, plan = claims.get("scopes"), claims.get("env"), claims.get("plan")
    grant = claims.get("sid")
    if not isinstance(subject, str) or kind not in _KINDS or not isinstance(scopes, list):
        raise _invalid("lacks a claim")
    if issuer != GATEWAY and (kind != "service" or subject != issuer or scopes or organization):
        raise _invalid("claims what its sender may not claim")
    try:
        organization_id = TypeId.parse(str(organization), expect="org").uuid if organization else None
    except InvalidIdError as error:
        raise _invalid("names no organization") from error
    return Principal(
        subject=subject,
        kind=cast("Kind", kind),
        organization_id=organization_id,
        scopes=frozenset(str(scope) for scope in scopes),
        environment=environment if isinstance(environment, str) else None,
        plan=plan if isinstance(plan, str) else None,
        grant_id=grant if isinstance(grant, str) else None,
    )


def _invalid(reason: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"The principal {reason}.", code="principal_invalid")


def _split_pair(pair: str) -> tuple[str, str]:
    issuer, separator, audience = pair.partition("|")
    if not (issuer and separator and audience):
        raise SettingsError(f"principal key {pair!r} is not named issuer|audience")
    return issuer, audience


def _load_key(pair: str, value: SecretStr) -> OctKey:
    text = value.get_secret_value()
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise SettingsError(f"principal key {pair} is not base64url") from error
    if len(raw) < _KEY_BYTES:
        raise SettingsError(f"principal key {pair} has fewer than {_KEY_BYTES} bytes")
    return OctKey.import_key(raw)


def current_principal(connection: HTTPConnection) -> Principal:
    """Return the verified principal of a request; raises `UnauthenticatedError` without a valid one."""
    headers = connection.headers.getlist(PRINCIPAL_HEADER)
    if len(headers) != 1:
        raise UnauthenticatedError("Authentication is required.")
    verifier: PrincipalVerifier = connection.app.state.principal_verifier
    principal = verifier.verify(headers[0])
    connection.state.principal = principal
    return principal


class Requires:
    """A route's demand for a scope: `Annotated[Principal, Depends(Requires("flags:read"))]`.

    Any one of several scopes is enough. Raises 401 without a principal and 403 `insufficient_scope` (RFC 6750 section
    3.1), which names the first, without any of them.
    """

    def __init__(self, scope: str, *others: str) -> None:
        self.scope = str(Scope(scope))
        self._scopes = (self.scope, *(str(Scope(other)) for other in others))

    async def __call__(self, request: Request) -> Principal:
        """Return the caller, or refuse the request."""
        principal = current_principal(request)
        if not any(principal.has_scope(scope) for scope in self._scopes):
            raise ForbiddenError(
                f"This needs the scope {self.scope}.",
                code="insufficient_scope",
                headers={
                    "WWW-Authenticate": f'Bearer realm="undercroft", error="insufficient_scope", scope="{self.scope}"'
                },
            )
        return principal


async def require_service(request: Request) -> Principal:
    """Admit only other deployables; anybody else is told that nothing is here."""
    principal = current_principal(request)
    if principal.kind != "service":
        raise NotFoundError
    return principal


ServicePrincipal = Annotated[Principal, Depends(require_service)]


def public(endpoint: Callable[..., object]) -> Callable[..., object]:
    """Mark a route as open to everybody; the test that walks every route accepts nothing else unguarded."""
    endpoint.__undercroft_public__ = True  # type: ignore[attr-defined]  # functions take attributes
    return endpoint


def is_public(endpoint: object) -> bool:
    """Tell whether a route was marked with `public`."""
    return getattr(endpoint, "__undercroft_public__", False) is True


def generate_principal_keys(master: SecretStr, names: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Derive every pairwise key and hand each deployable only those it needs.

    Returns {deployable: {"<issuer>|<audience>": base64url key}}: a deployable gets the pairs it signs and the
    pairs it verifies.
    """
    given: dict[str, dict[str, str]] = {name: {} for name in names}
    for issuer in names:
        for audience in names:
            if issuer == audience:
                continue
            pair = f"{issuer}|{audience}"
            key = base64.urlsafe_b64encode(derive_key(master, f"principal:{pair}")).rstrip(b"=").decode()
            given[issuer][pair] = key
            given[audience][pair] = key
    return given
