"""How callers say who they are, in OpenAPI's words."""

from typing import Any, Final, TypeAlias

from undercroft.gateway.routes_table import AuthWord
from undercroft.shared.auth import Scope

Document: TypeAlias = dict[str, Any]  # JSON whose shape is OpenAPI's

_KEY_SCHEMES: Final = ("bearer", "apiKey")
_TOKEN_SCHEMES: Final = ("oauth2", "openIdConnect", "dpop")
_MEANINGS: Final[dict[Scope, str]] = {
    Scope.IDENTITY_READ: "Read the organization, its members, keys and clients.",
    Scope.IDENTITY_WRITE: "Change the organization, its members, keys and clients.",
    Scope.IDENTITY_API_KEYS: "Manage the organization's API keys and derive tokens from them.",
    Scope.FLAGS_READ: "Read environments and flags.",
    Scope.FLAGS_WRITE: "Change environments and flags.",
    Scope.FLAGS_EVALUATE: "Evaluate flags.",
    Scope.USAGE_READ: "Read plans, entitlements and usage.",
    Scope.USAGE_WRITE: "Change plans and entitlements.",
    Scope.USAGE_INGEST: "Report usage.",
    Scope.WEBHOOKS_READ: "Read endpoints and deliveries.",
    Scope.WEBHOOKS_WRITE: "Change endpoints.",
    Scope.WEBHOOKS_SEND: "Send messages.",
    Scope.ACCOUNT: "A person's own account; granted by signing in here only.",
    Scope.OPERATOR: "Everything, in every organization; never granted by a person.",
}
# The operator's scope and one's own account are no client's to ask a person for.
_NOT_DELEGATED: Final = frozenset({Scope.ACCOUNT, Scope.OPERATOR, Scope.FLAGS_READ, Scope.FLAGS_WRITE})
_OPENID_SCOPES: Final = {
    "openid": "Who somebody is.",
    "profile": "Their name.",
    "email": "Their address.",
    "offline_access": "Refresh tokens that outlive the session.",
}


ANY_CREDENTIALS: Final[list[dict[str, list[str]]]] = [
    {scheme: []} for scheme in (*_KEY_SCHEMES, *_TOKEN_SCHEMES)
]


def security_of(auth: AuthWord | frozenset[str]) -> list[dict[str, list[str]]] | None:
    """Return an operation's security requirements, or None where those of the whole document hold.

    Any one entry is enough (OpenAPI 3.1 section 4.8.30), and any one scope of a route is.
    """
    match auth:
        case "any":
            return None
        case "public" | "upstream":
            return []
        case "optional":
            return [{}, *ANY_CREDENTIALS]
        case scopes:
            keys = ANY_CREDENTIALS[: len(_KEY_SCHEMES)]
            return keys + [{scheme: [scope]} for scope in sorted(scopes) for scheme in _TOKEN_SCHEMES]


def security_schemes(issuer: str) -> Document:
    """Return every way to say who one is; the addresses are those of the discovery document."""
    meanings = {str(scope): meaning for scope, meaning in _MEANINGS.items()}
    delegated = {name: meaning for name, meaning in meanings.items() if name not in _NOT_DELEGATED}
    own = {name: meaning for name, meaning in meanings.items() if name != Scope.ACCOUNT}
    token_url = f"{issuer}/oauth/token"
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "API key or JWT",
            "description": "An API key (`uc_...`) or an access token as `Authorization: Bearer`.",
        },
        "apiKey": {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "An API key in a header of its own.",
        },
        "oauth2": {
            "type": "oauth2",
            "description": "Access tokens by OAuth 2.1: with PKCE for people, with client credentials for programs. "
            "`X-Organization` chooses the organization that somebody acts in.",
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": f"{issuer}/oauth/authorize",
                    "tokenUrl": token_url,
                    "refreshUrl": token_url,
                    "scopes": {**_OPENID_SCOPES, **delegated},
                },
                "clientCredentials": {"tokenUrl": token_url, "scopes": own},
            },
        },
        "openIdConnect": {
            "type": "openIdConnect",
            "openIdConnectUrl": f"{issuer}/.well-known/openid-configuration",
        },
        "dpop": {
            "type": "http",
            "scheme": "dpop",
            "description": "An access token that is bound to a key, with a proof in `DPoP` (RFC 9449).",
        },
    }
