"""What the authorization server says about itself (RFC 8414, OpenID Connect Discovery): no more than it does."""

from typing import Final

from undercroft.identity.domain.oauth.clients import AUTH_METHODS, GRANT_TYPES
from undercroft.identity.domain.oauth.requests import PROMPTS
from undercroft.identity.domain.oauth.scopes import REGISTRABLE
from undercroft.identity.domain.oauth.user_claims import SUPPORTED

DPOP_ALGORITHMS: Final = ("ES256", "ES384", "Ed25519", "PS256", "RS256")
_SECRET_METHODS: Final = tuple(method for method in AUTH_METHODS if method != "none")
_TOKEN_CLAIMS: Final = ("sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "amr", "at_hash", "sid")


def metadata(issuer: str) -> dict[str, object]:
    """Return the metadata of the server with this issuer."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "pushed_authorization_request_endpoint": f"{issuer}/oauth/par",
        "device_authorization_endpoint": f"{issuer}/oauth/device_authorization",
        "end_session_endpoint": f"{issuer}/oauth/logout",
        "scopes_supported": sorted(REGISTRABLE, key=lambda scope: (":" in scope, scope)),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANT_TYPES),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "introspection_endpoint_auth_methods_supported": list(_SECRET_METHODS),
        "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": sorted(PROMPTS),
        "claim_types_supported": ["normal"],
        "claims_supported": [*_TOKEN_CLAIMS, *SUPPORTED],
        "claims_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "require_pushed_authorization_requests": False,
        "authorization_response_iss_parameter_supported": True,
        "dpop_signing_alg_values_supported": list(DPOP_ALGORITHMS),
    }
