"""How the protocol's endpoints describe themselves in OpenAPI; they read forms by themselves."""

from collections.abc import Mapping
from typing import Any, Final

_STRING: Final = {"type": "string"}
_ERROR: Final = {
    "description": "Refused (RFC 6749 section 5.2).",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": _STRING, "error_description": _STRING},
            }
        }
    },
}
_CREDENTIALS: Final = ("client_id", "client_secret")


def form_openapi(
    required: tuple[str, ...], optional: tuple[str, ...] = (), *, answer: Mapping[str, Any] | None = None
) -> dict[str, Any]:  # OpenAPI's own shapes
    """Describe an endpoint that reads a form and answers JSON."""
    properties = dict.fromkeys((*required, *optional, *_CREDENTIALS), _STRING)
    body = {"type": "object", "required": list(required), "properties": properties}
    content = {"application/json": {"schema": {"type": "object", "properties": dict(answer or {})}}}
    return {
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": body}}},
        "responses": {
            "200": {"description": "As the standard has it.", "content": content},
            "400": _ERROR,
            "401": _ERROR,
        },
    }


TOKEN_OPENAPI: Final = form_openapi(
    ("grant_type",),
    ("code", "redirect_uri", "code_verifier", "refresh_token", "device_code", "scope", "resource"),
    answer={
        "access_token": _STRING,
        "token_type": {"enum": ["Bearer", "DPoP"]},
        "expires_in": {"type": "integer"},
        "scope": _STRING,
        "refresh_token": _STRING,
        "id_token": _STRING,
    },
)
INTROSPECT_OPENAPI: Final = form_openapi(
    ("token",), ("token_type_hint",), answer={"active": {"type": "boolean"}}
)
REVOKE_OPENAPI: Final = form_openapi(("token",), ("token_type_hint",))
PAR_OPENAPI: Final = form_openapi(
    ("response_type", "redirect_uri", "code_challenge", "code_challenge_method"),
    ("scope", "state", "nonce", "prompt", "max_age", "claims", "resource", "dpop_jkt"),
    answer={"request_uri": _STRING, "expires_in": {"type": "integer"}},
)
DEVICE_OPENAPI: Final = form_openapi(
    (),
    ("scope", "resource"),
    answer={
        "device_code": _STRING,
        "user_code": _STRING,
        "verification_uri": _STRING,
        "verification_uri_complete": _STRING,
        "expires_in": {"type": "integer"},
        "interval": {"type": "integer"},
    },
)
