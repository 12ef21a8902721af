"""OFREP's requests and answers for the OpenAPI document, since its routes bypass FastAPI's parameters."""

from typing import Any, Final

_CONTEXT: Final[dict[str, Any]] = {  # OpenAPI is an open format
    "type": "object",
    "properties": {"targetingKey": {"type": "string", "description": "Who the evaluation is for."}},
    "additionalProperties": True,
    "description": "At most 64 KiB. `organization.id` and `organization.plan` are those of the caller when absent.",
}
_METADATA: Final[dict[str, Any]] = {"type": "object", "additionalProperties": True}
_SUCCESS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["key", "reason", "variant"],
    "properties": {
        "key": {"type": "string"},
        "value": {"description": "Absent when the caller's own default applies."},
        "reason": {"type": "string", "enum": ["STATIC", "DEFAULT", "TARGETING_MATCH", "DISABLED"]},
        "variant": {"type": "string", "description": "Empty when no variant was chosen."},
        "metadata": _METADATA,
    },
}
_FAILURE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["errorCode", "errorDetails"],
    "properties": {
        "key": {"type": "string", "description": "Only for the evaluation of one flag."},
        "errorCode": {
            "type": "string",
            "enum": ["PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "FLAG_NOT_FOUND", "GENERAL"],
        },
        "errorDetails": {"type": "string"},
    },
}
_BULK: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["flags"],
    "properties": {
        "flags": {"type": "array", "items": {"anyOf": [_SUCCESS, _FAILURE]}},
        "metadata": _METADATA,
        "eventStreams": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "endpoint"],
                "properties": {
                    "type": {"type": "string", "const": "sse"},
                    "endpoint": {
                        "type": "object",
                        "required": ["requestUri"],
                        "properties": {
                            "requestUri": {
                                "type": "string",
                                "description": "Path and query; the token in it is a secret for an hour.",
                            }
                        },
                    },
                    "inactivityDelaySec": {"type": "integer", "minimum": 1},
                },
            },
        },
    },
}
_ENVIRONMENT: Final[dict[str, Any]] = {
    "name": "environment",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "For operator keys that are bound to no environment; `production` when absent.",
}
_REQUEST: Final[dict[str, Any]] = {
    "content": {"application/json": {"schema": {"type": "object", "properties": {"context": _CONTEXT}}}}
}


def _parameter(place: str, name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": {"type": "string"},
        "description": description,
    }


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


SINGLE_OPENAPI: Final[dict[str, Any]] = {
    "parameters": [_parameter("path", "key", "The flag's key."), _ENVIRONMENT],
    "requestBody": _REQUEST,
    "responses": {
        "200": _answer("The evaluation.", _SUCCESS),
        "400": _answer("The request or the flag cannot be evaluated.", _FAILURE),
        "404": _answer("There is no such flag in this environment.", _FAILURE),
    },
}
BULK_OPENAPI: Final[dict[str, Any]] = {
    "parameters": [
        _parameter("header", "If-None-Match", "ETags of answers that the client has."),
        _ENVIRONMENT,
    ],
    "requestBody": _REQUEST,
    "responses": {
        "200": _answer("Every flag's evaluation, and an ETag.", _BULK),
        "304": {"description": "The client has this answer."},
        "400": _answer("The request cannot be evaluated.", _FAILURE),
    },
}
STREAM_OPENAPI: Final[dict[str, Any]] = {
    "parameters": [
        _parameter("header", "Last-Event-ID", "The last event that the client received."),
        _parameter("query", "since", "The version that the client has; `Last-Event-ID` counts before it."),
        _ENVIRONMENT,
    ],
    "responses": {
        "200": {
            "description": "Events of type `message`; their data are objects with `type` (`refetchEvaluation`), "
            "`etag` and `lastModified` (OFREP ADR-0008).",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        "400": _answer("The caller evaluates in no environment.", _FAILURE),
    },
}
