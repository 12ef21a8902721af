import base64
from uuid import uuid4

import pytest
from fastapi import APIRouter, Depends, FastAPI
from httpx import ASGITransport, AsyncClient
from joserfc import jws
from joserfc.jwk import OctKey
from pydantic import SecretStr

from undercroft.shared.auth import (
    Principal,
    PrincipalKeys,
    PrincipalSigner,
    PrincipalVerifier,
    Requires,
    Scope,
    generate_principal_keys,
    is_public,
    public,
    require_service,
)
from undercroft.shared.errors import ForbiddenError, NotFoundError, ServiceError, UnauthenticatedError
from undercroft.shared.ids import TypeId
from undercroft.shared.serialization import dumps
from undercroft.shared.settings import SettingsError

MASTER = SecretStr("m" * 32)
NAMES = ("gateway", "identity", "flags")
KEYS = {
    name: PrincipalKeys({pair: SecretStr(key) for pair, key in keys.items()})
    for name, keys in generate_principal_keys(MASTER, NAMES).items()
}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def signer(issuer: str, clock: Clock | None = None) -> PrincipalSigner:
    return PrincipalSigner(issuer, KEYS[issuer], clock=clock or Clock())


def verifier(audience: str, clock: Clock | None = None) -> PrincipalVerifier:
    return PrincipalVerifier(audience, KEYS[audience], clock=clock or Clock())


def api_key(**changes: object) -> Principal:
    values: dict[str, object] = {
        "subject": "key_1",
        "kind": "api_key",
        "scopes": frozenset({"flags:read"}),
        **changes,
    }
    return Principal(**values)  # type: ignore[arg-type]


def forged(claims: dict[str, object], *, pair: str = "gateway|flags") -> str:
    issuer, _, audience = pair.partition("|")
    key = KEYS[audience].get(issuer, audience)
    assert key is not None
    whole = {
        "iss": issuer,
        "aud": audience,
        "iat": 1_000_000,
        "exp": 1_000_060,
        "sub": "key_1",
        "kind": "api_key",
        "scopes": [],
        **claims,
    }
    return jws.serialize_compact({"alg": "HS256"}, dumps(whole), key)


def test_a_principal_survives_the_journey() -> None:
    principal = api_key(organization_id=uuid4(), environment="staging", plan="pro")
    assert verifier("flags").verify(signer("gateway").header_for(principal, "flags")) == principal


def test_a_header_is_signed_once_for_half_of_its_life() -> None:
    clock = Clock()
    gateway = signer("gateway", clock)
    first = gateway.header_for(api_key(), "flags")
    clock.now += 29
    assert gateway.header_for(api_key(), "flags") == first
    clock.now += 2
    assert gateway.header_for(api_key(), "flags") != first


def test_a_principal_expires_even_when_it_was_verified_before() -> None:
    clock = Clock()
    header = signer("gateway", clock).header_for(api_key(), "flags")
    flags = verifier("flags", clock)
    flags.verify(header)
    clock.now += 66
    with pytest.raises(UnauthenticatedError, match="expired"):
        flags.verify(header)


def test_an_expired_principal_is_refused_on_first_sight() -> None:
    clock = Clock()
    clock.now += 66
    with pytest.raises(UnauthenticatedError, match="expired"):
        verifier("flags", clock).verify(signer("gateway").header_for(api_key(), "flags"))


def test_a_service_speaks_for_itself() -> None:
    principal = verifier("identity").verify(signer("flags").service_header_for("identity"))
    assert (principal.kind, principal.subject, principal.scopes) == ("service", "flags", frozenset())


@pytest.mark.parametrize(
    "claims",
    [
        {"kind": "api_key", "sub": "flags"},
        {"kind": "service", "sub": "gateway"},
        {"kind": "service", "sub": "flags", "scopes": ["operator"]},
        {"kind": "service", "sub": "flags", "org": str(TypeId.new("org"))},
    ],
)
def test_a_service_cannot_speak_for_anybody_else(claims: dict[str, object]) -> None:
    with pytest.raises(UnauthenticatedError, match="may not claim"):
        verifier("identity").verify(forged(claims, pair="flags|identity"))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1_000_061},
        {"exp": None},
        {"iat": 1_000_010, "exp": 1_000_070},
        {"sub": None},
        {"kind": "wizard"},
        {"scopes": "operator"},
        {"org": "org_wrong"},
        {"aud": "identity"},
        {"iss": "webhooks"},
        {"iss": 7},
    ],
)
def test_impossible_claims_are_refused(claims: dict[str, object]) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        verifier("flags").verify(forged(claims))
    assert caught.value.code == "principal_invalid"


@pytest.mark.parametrize("header", ["", "a.b", "a.b.c", "é.é.é", "e30.W10.x"])
def test_garbage_is_refused(header: str) -> None:
    with pytest.raises(UnauthenticatedError, match="principal"):
        verifier("flags").verify(header)


def test_a_list_of_claims_is_refused() -> None:
    key = OctKey.import_key(b"k" * 32)
    with pytest.raises(UnauthenticatedError, match="malformed"):
        verifier("flags").verify(jws.serialize_compact({"alg": "HS256"}, b"[]", key))


def test_a_wrong_signature_is_refused() -> None:
    header, payload, signature = signer("gateway").header_for(api_key(), "flags").split(".")
    turned = ("A" if signature[0] != "A" else "B") + signature[1:]
    with pytest.raises(UnauthenticatedError, match="signature"):
        verifier("flags").verify(f"{header}.{payload}.{turned}")


def test_a_principal_for_one_service_is_refused_by_another() -> None:
    header = signer("gateway").header_for(api_key(), "flags")
    with pytest.raises(UnauthenticatedError):
        verifier("identity").verify(header)


def test_signing_for_an_unknown_audience_is_a_programming_error() -> None:
    with pytest.raises(LookupError, match=r"gateway\|nobody"):
        signer("gateway").header_for(api_key(), "nobody")


def test_each_deployable_is_given_only_its_pairs() -> None:
    given = generate_principal_keys(MASTER, NAMES)
    assert set(given["flags"]) == {"gateway|flags", "identity|flags", "flags|gateway", "flags|identity"}
    assert len({key for keys in given.values() for key in keys.values()}) == 6


@pytest.mark.parametrize(
    ("pair", "value"), [("nopair", "x"), ("a|b", "@@@"), ("a|b", base64.urlsafe_b64encode(b"short").decode())]
)
def test_a_malformed_key_is_refused_at_start(pair: str, value: str) -> None:
    with pytest.raises(SettingsError, match="principal key"):
        PrincipalKeys({pair: SecretStr(value)})


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("undercroft.shared.auth._CACHED_PRINCIPALS", 2)
    gateway, flags = signer("gateway"), verifier("flags")
    for number in range(5):
        flags.verify(gateway.header_for(api_key(subject=f"key_{number}"), "flags"))
    assert (len(gateway._cache), len(flags._cache)) == (2, 2)


def test_the_operator_holds_every_scope_in_every_organization() -> None:
    operator = api_key(kind="operator", scopes=frozenset({"operator"}))
    operator.require_organization(uuid4())
    assert all(operator.has_scope(scope) for scope in Scope)


def test_another_organization_is_not_found_rather_than_forbidden() -> None:
    with pytest.raises(NotFoundError):
        api_key(organization_id=uuid4()).require_organization(uuid4())


def test_an_unknown_scope_cannot_be_required() -> None:
    with pytest.raises(ValueError, match="flags:fly"):
        Requires("flags:fly")


def test_public_marks_an_endpoint() -> None:
    assert is_public(public(lambda: None))
    assert not is_public(lambda: None)


def guarded_app() -> FastAPI:
    router = APIRouter()

    @router.get("/read", dependencies=[Depends(Requires("flags:read"))])
    async def read() -> str:
        return "read"

    @router.get("/internal", dependencies=[Depends(require_service)])
    async def internal() -> str:
        return "internal"

    app = FastAPI()
    app.include_router(router)
    app.state.principal_verifier = verifier("flags")
    return app


async def status_of(path: str, *headers: str) -> type[ServiceError] | int:
    async with AsyncClient(transport=ASGITransport(guarded_app()), base_url="http://flags") as client:
        try:
            answer = await client.get(path, headers=[("Undercroft-Principal", each) for each in headers])
        except ServiceError as error:
            return type(error)
        return answer.status_code


async def test_a_route_demands_a_principal() -> None:
    assert await status_of("/read") is UnauthenticatedError


async def test_two_principals_are_none() -> None:
    header = signer("gateway").header_for(api_key(), "flags")
    assert await status_of("/read", header, header) is UnauthenticatedError


async def test_a_route_demands_its_scope() -> None:
    narrow = signer("gateway").header_for(api_key(scopes=frozenset({"flags:evaluate"})), "flags")
    assert await status_of("/read", narrow) is ForbiddenError
    assert await status_of("/read", signer("gateway").header_for(api_key(), "flags")) == 200


async def test_internal_paths_exist_for_services_only() -> None:
    assert await status_of("/internal", signer("gateway").header_for(api_key(), "flags")) is NotFoundError
    assert await status_of("/internal", signer("identity").service_header_for("flags")) == 200
