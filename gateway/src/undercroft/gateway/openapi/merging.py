"""Merging services' documents: only what a route leads to, without two meanings of one name."""

from collections.abc import Iterable, Mapping
from typing import Any

from undercroft.gateway.openapi.security import (
    ANY_CREDENTIALS,
    Document,
    security_of,
    security_schemes,
)
from undercroft.gateway.routes_table import MatchedRoute, Place, RouteTable

_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_REFERENCE_PREFIX = "#/components/"
_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "description": "Stable and made for programs."},
        "requestId": {"type": "string"},
    },
}
_PROBLEM_NAME = "Problem"
_PROBLEM_RESPONSE = {
    "description": "The request was not served; the problem document says why.",
    "content": {
        "application/problem+json": {"schema": {"$ref": f"{_REFERENCE_PREFIX}schemas/{_PROBLEM_NAME}"}}
    },
}


def merge(documents: Mapping[str, Document], routes: RouteTable, *, version: str, issuer: str) -> Document:
    """Merge services' documents (by upstream name) into the platform's.

    Only what a route leads to is shown. Component names and operation ids stay as they are unless two services use
    one for different things; then the later service's gets its name in front.
    """
    merged: Document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Undercroft",
            "version": version,
            "description": "The floor under a B2B SaaS: accounts, flags, usage and webhooks behind one door.",
        },
        "tags": [],
        "paths": {},
        "components": {
            "securitySchemes": security_schemes(issuer),
            "schemas": {_PROBLEM_NAME: _PROBLEM_SCHEMA},
            "responses": {_PROBLEM_NAME: _PROBLEM_RESPONSE},
        },
        "security": ANY_CREDENTIALS,
    }
    operation_ids: set[str] = set()
    for service, document in documents.items():
        renamed = _rename_clashes(service, document, merged["components"])
        for section, components in renamed.get("components", {}).items():
            if section != "securitySchemes":
                merged["components"].setdefault(section, {}).update(components)
        _merge_tags(merged["tags"], renamed.get("tags", ()))
        for path, item in renamed.get("paths", {}).items():
            place = routes.find(path)
            if place is not None and place.first.route.upstream == service:
                merged["paths"][path] = _public_item(service, item, place, operation_ids)
    return merged


def _public_item(service: str, item: Document, place: Place, operation_ids: set[str]) -> Document:
    public: Document = {}
    for key, value in item.items():
        if key not in _METHODS:
            public[key] = value
        elif (matched := place.by_method.get(key.upper())) is not None:
            public[key] = _public_operation(service, value, matched, operation_ids)
    return public


def _public_operation(
    service: str, operation: Document, matched: MatchedRoute, operation_ids: set[str]
) -> Document:
    public = dict(operation)
    identifier = public.get("operationId")
    if identifier in operation_ids:
        identifier = public["operationId"] = f"{service}_{identifier}"
    if identifier:
        operation_ids.add(identifier)
    public.setdefault("tags", [service])
    auth = matched.route.auth
    security = security_of(auth)
    if security is not None:
        public["security"] = security
    if isinstance(auth, frozenset):
        public["x-required-scopes"] = sorted(auth)
    reference = {"$ref": f"{_REFERENCE_PREFIX}responses/{_PROBLEM_NAME}"}
    public["responses"] = {**public.get("responses", {}), "default": reference}
    return public


def _rename_clashes(service: str, document: Document, taken: Document) -> Document:
    """Return the document with every component renamed whose name means something else in `taken` already."""
    components: Document = document.get("components", {})
    clashing = {
        (section, name)
        for section, named in components.items()
        for name, value in named.items()
        if name in taken.get(section, {}) and taken[section][name] != value
    }
    if not clashing:
        return document
    # What refers to a renamed component is a different thing now, even where the texts are equal.
    while True:
        more = {
            (section, name)
            for section, named in components.items()
            for name, value in named.items()
            if (section, name) not in clashing
            and name in taken.get(section, {})
            and any(f"{_REFERENCE_PREFIX}{other[0]}/{other[1]}" in _references(value) for other in clashing)
        }
        if not more:
            break
        clashing |= more
    prefix = service.capitalize()
    names = {
        f"{_REFERENCE_PREFIX}{section}/{name}": f"{_REFERENCE_PREFIX}{section}/{prefix}{name}"
        for section, name in clashing
    }
    rewritten: Document = _rewrite(document, names)
    rewritten["components"] = {
        section: {
            prefix + name if (section, name) in clashing else name: value for name, value in named.items()
        }
        for section, named in rewritten["components"].items()
    }
    return rewritten


def _references(value: Any) -> set[str]:  # any JSON
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(_references(each) for each in value.values()))
    if isinstance(value, list):
        return set().union(*(_references(each) for each in value))
    return set()


def _rewrite(value: Any, names: Mapping[str, str]) -> Any:  # any JSON
    if isinstance(value, dict):
        return {
            key: names.get(each, each) if key == "$ref" and isinstance(each, str) else _rewrite(each, names)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_rewrite(each, names) for each in value]
    if isinstance(value, str):  # discriminators name components too
        return names.get(value, value)
    return value


def _merge_tags(merged: list[Document], tags: Iterable[Document]) -> None:
    known = {tag["name"] for tag in merged}
    merged.extend(tag for tag in tags if tag["name"] not in known)
