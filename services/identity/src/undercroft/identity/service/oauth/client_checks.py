"""What an OAuth client may be: its members fit each other, and nobody registers scopes that they do not hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from undercroft.identity.domain.api_keys import OPERATOR_ONLY_SCOPES, unique
from undercroft.identity.domain.oauth.clients import (
    AUTHORIZATION_CODE,
    CLIENT_CREDENTIALS,
    DEVICE_CODE,
    REFRESH_TOKEN,
)
from undercroft.identity.domain.oauth.redirect_uris import check_redirect_uri
from undercroft.identity.domain.oauth.scopes import REGISTRABLE
from undercroft.identity.domain.roles import PERSONAL_SCOPES
from undercroft.identity.errors.api_keys import ScopeNotHeldError
from undercroft.identity.errors.payload import refused_member
from undercroft.identity.models.oauth import OAuthClient
from undercroft.shared.auth import Principal


@dataclass(frozen=True, slots=True)
class ClientOwner:
    """Whose clients a caller works on: an organization's, or the operator's own when there is none."""

    principal: Principal
    organization_id: UUID | None


def check_client(client: OAuthClient) -> None:
    """Raise `UnprocessableError` unless a client's members fit each other."""
    is_public = client.type == "public"
    if is_public != (client.token_endpoint_auth_method == "none"):  # noqa: S105  a method
        raise refused_member(
            "#/tokenEndpointAuthMethod",
            "Public clients, and only they, authenticate with none.",
            "not_of_type",
        )
    _check_uris("redirectUris", client.redirect_uris, is_public=is_public)
    _check_uris("postLogoutRedirectUris", client.post_logout_redirect_uris, is_public=is_public)
    _check_grant_types(client, is_public=is_public)


def check_scopes(scopes: Sequence[str], owner: ClientOwner) -> None:
    """Raise `UnprocessableError` for scopes that no such client has, and `ScopeNotHeldError`."""
    allowed = REGISTRABLE - (OPERATOR_ONLY_SCOPES if owner.organization_id is not None else frozenset())
    for place, scope in enumerate(scopes):
        if scope not in allowed:
            raise refused_member(
                f"#/scopes/{place}", f"A client cannot ask for {scope}.", "scope_not_allowed"
            )
    check_held(scopes, owner)


def check_held(scopes: Sequence[str], owner: ClientOwner) -> None:
    """Raise `ScopeNotHeldError` for scopes that the caller could not hand on."""
    missing = unique(
        scope for scope in scopes if scope not in PERSONAL_SCOPES and not owner.principal.has_scope(scope)
    )
    if missing:
        raise ScopeNotHeldError(f"You do not hold {', '.join(missing)} and cannot hand it on.")


def _check_uris(member: str, uris: Sequence[str], *, is_public: bool) -> None:
    for place, uri in enumerate(uris):
        try:
            check_redirect_uri(uri, is_public=is_public)
        except ValueError as error:
            raise refused_member(f"#/{member}/{place}", f"The address {error}.", "redirect_uri") from None


def _check_grant_types(client: OAuthClient, *, is_public: bool) -> None:
    types = set(client.grant_types)
    if AUTHORIZATION_CODE in types and not client.redirect_uris:
        raise refused_member("#/redirectUris", "Where are codes to be sent?", "missing")
    if CLIENT_CREDENTIALS in types and is_public:
        raise refused_member("#/grantTypes", "A public client has no credentials.", "not_of_type")
    if REFRESH_TOKEN in types and not types & {AUTHORIZATION_CODE, DEVICE_CODE}:
        raise refused_member("#/grantTypes", "There is no grant to refresh.", "not_of_type")
