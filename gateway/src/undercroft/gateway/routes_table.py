"""The routes: data that is validated when it is read and matched without touching what it does not need."""

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from undercroft.shared.auth import Scope

OWN_VIEWS: Final = "gateway"
AUTHENTICATION_LIMIT: Final = "authentication"
SHIPPED_FILE: Final = "routes.toml"

_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(r"(\d{1,6}) ?(B|KiB|MiB|GiB)")
_PREFIX = re.compile(r"(?:/(?:[a-z0-9._~-]+|\{[a-z_]+\}))+")
_ANY_SEGMENT = ""
_HOME = "/"

AuthWord = Literal["public", "optional", "upstream", "any"]
_AUTH_WORDS: Final = get_args(AuthWord)


class RoutesError(Exception):
    """The routes cannot be used; the message is one line with file, line where known, and reason."""


def _parse_size(value: object) -> object:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a size as "<number> <B, KiB, MiB or GiB>"')
    return int(match[1]) * _UNITS[match[2]]


def _check_prefix(value: str) -> str:
    if value == _HOME:
        return value
    if not _PREFIX.fullmatch(value) or any(part in {".", ".."} for part in value.split("/")):
        raise ValueError("write a prefix as /segments of lower-case letters, digits, . _ ~ - or {name}")
    if value == "/internal" or value.startswith("/internal/"):
        raise ValueError("/internal is never public")
    return value


def _check_auth(value: object) -> object:
    if value in _AUTH_WORDS:
        return value
    scopes = {str(scope) for scope in Scope}
    if isinstance(value, list) and value and all(scope in scopes for scope in value):
        return frozenset(value)
    raise ValueError('write "public", "optional", "upstream", "any" or a list of known scopes')


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class LimitPolicy(_Strict):
    """A rate-limit class: so many requests in each fixed window, per credential or per address."""

    name: str = ""
    requests: Annotated[int, Field(ge=1, le=1_000_000_000)]
    window_seconds: Annotated[int, Field(ge=1, le=86_400)]
    per: Literal["credential", "address"]
    on_failure: Literal["open", "closed"]


class Route(_Strict):
    """One route: some methods below one prefix."""

    prefix: Annotated[str, AfterValidator(_check_prefix)]
    upstream: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,62}$")]
    auth: Annotated[AuthWord | frozenset[str], BeforeValidator(_check_auth)]
    limit: str | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=3_600)] = 30
    body_limit: Annotated[int, BeforeValidator(_parse_size)] = 1024 * 1024
    methods: tuple[Literal["GET", "POST", "PUT", "PATCH", "DELETE"], ...] = Field(min_length=1)
    cors: Literal["listed", "any", "none"] = "listed"
    cookies: bool = False
    errors: Literal["problem", "oauth", "page"] = "problem"
    stream: bool = False

    @property
    def template(self) -> str:
        """Return the label for logs and metrics; own views are exact, others have something below them."""
        return self.prefix if self.upstream == OWN_VIEWS else f"{self.prefix}/{{path}}"

    @property
    def is_anonymous(self) -> bool:
        """Tell whether the gateway learns of nobody who calls."""
        return self.auth in ("public", "upstream")


class _File(_Strict):
    limits: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,62}$")], LimitPolicy]
    routes: tuple[Route, ...]


@dataclass(slots=True)
class _Node:
    """One segment of the tree that routes are matched in."""

    children: dict[str, "_Node"] = field(default_factory=dict)
    place: "Place | None" = None


@dataclass(frozen=True, slots=True)
class MatchedRoute:
    """A route with everything a request needs, computed once."""

    route: Route
    limit: LimitPolicy | None
    template: str


@dataclass(frozen=True, slots=True)
class Place:
    """Everything that is offered below one prefix, by method; HEAD is where GET is."""

    prefix: str
    is_exact: bool
    by_method: dict[str, MatchedRoute]
    first: MatchedRoute
    allow: str

    @classmethod
    def of(cls, routes: Sequence[MatchedRoute]) -> "Place":
        """Put the routes of one prefix together."""
        by_method: dict[str, MatchedRoute] = {
            method: each for each in routes for method in each.route.methods
        }
        if "GET" in by_method:
            by_method["HEAD"] = by_method["GET"]
        first = routes[0]
        allow = ", ".join(sorted({*by_method, "OPTIONS"}))
        return cls(first.route.prefix, first.route.upstream == OWN_VIEWS, by_method, first, allow)


class RouteTable:
    """Finds what is offered at a path."""

    def __init__(self, routes: Iterable[MatchedRoute], limits: Mapping[str, LimitPolicy]) -> None:
        self.routes = tuple(routes)
        self.limits = dict(limits)
        self._root = _Node()
        self._home: Place | None = None
        together: dict[str, list[MatchedRoute]] = {}
        for each in self.routes:
            together.setdefault(_shape(each.route.prefix), []).append(each)
        for routes_of_one in together.values():
            self._insert(Place.of(routes_of_one))

    def find(self, path: str) -> Place | None:
        """Return the place with the longest matching prefix; literal segments win over `{name}`."""
        return _walk(self._root, path.split("/"), 1) or (self._home if path == _HOME else None)

    def upstreams(self) -> frozenset[str]:
        """Return the names of every upstream that a route needs."""
        return frozenset(each.route.upstream for each in self.routes) - {OWN_VIEWS}

    def _insert(self, place: Place) -> None:
        if place.prefix == _HOME:
            self._home = place
            return
        node = self._root
        for segment in place.prefix.split("/")[1:]:
            key = _ANY_SEGMENT if segment.startswith("{") else segment
            node = node.children.setdefault(key, _Node())
        node.place = place


def _walk(node: _Node, segments: list[str], depth: int) -> Place | None:
    if depth < len(segments):
        segment = segments[depth]
        for key in (segment, _ANY_SEGMENT) if segment else ():
            child = node.children.get(key)
            found = _walk(child, segments, depth + 1) if child is not None else None
            if found is not None:
                return found
    place = node.place
    if place is not None and place.is_exact and depth < len(segments):
        return None
    return place


def load_routes(
    upstreams: Collection[str], *, text: str | None = None, name: str = SHIPPED_FILE
) -> RouteTable:
    """Read the shipped routes, or a text in the same form.

    Raises `RoutesError` for anything that could not be served: wrong values, unknown upstreams or limits, doubles.
    """
    if text is None:
        text = files("undercroft.gateway").joinpath(SHIPPED_FILE).read_text(encoding="utf-8")
    try:
        parsed = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise RoutesError(f"{name}: {error}") from None
    except ValidationError as error:
        raise RoutesError(_describe(error, text, name)) from None
    limits = {key: policy.model_copy(update={"name": key}) for key, policy in parsed.limits.items()}
    if AUTHENTICATION_LIMIT not in limits:
        raise RoutesError(f"{name}: limits.{AUTHENTICATION_LIMIT} is missing")
    known = {*upstreams, OWN_VIEWS}
    seen: dict[str, Route] = {}
    for index, route in enumerate(parsed.routes):
        reason = _conflict(route, known=known, limits=limits, seen=seen)
        if reason is not None:
            raise RoutesError(f"{name}:{_line_of(text, 'routes', index)}: {reason}")
        seen.update((f"{method} {_shape(route.prefix)}", route) for method in route.methods)
        seen[_shape(route.prefix)] = route
    return RouteTable((_matched(route, limits) for route in parsed.routes), limits)


def _conflict(
    route: Route, *, known: Collection[str], limits: Mapping[str, LimitPolicy], seen: Mapping[str, Route]
) -> str | None:
    """Return the first reason against a route, or None."""
    prefix, limit = route.prefix, limits.get(route.limit or "")
    shape = _shape(prefix)
    twin = seen.get(shape, route)
    reasons = {
        f"no upstream is named {route.upstream!r}": route.upstream not in known,
        f"{_HOME} would take every path: only the gateway's own view can be there": prefix == _HOME
        and route.upstream != OWN_VIEWS,
        f"no limit is named {route.limit!r}": route.limit is not None and limit is None,
        f"{prefix} is routed twice": any(f"{method} {shape}" in seen for method in route.methods),
        f"{prefix} is {twin.prefix} of {twin.upstream} for other methods": (twin.prefix, twin.upstream)
        != (prefix, route.upstream),
        f"{prefix} is {route.auth}, so its limit must be per address": route.is_anonymous
        and limit is not None
        and limit.per == "credential",
    }
    return next((reason for reason, is_given in reasons.items() if is_given), None)


def _shape(prefix: str) -> str:
    return re.sub(r"\{[a-z_]+\}", "{}", prefix)


def _matched(route: Route, limits: Mapping[str, LimitPolicy]) -> MatchedRoute:
    return MatchedRoute(
        route=route,
        limit=limits[route.limit] if route.limit is not None else None,
        template=route.template,
    )


def _describe(error: ValidationError, text: str, name: str) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    location = first["loc"]
    line = _line_of(text, str(location[0]), location[1]) if len(location) > 1 else 1
    where = ".".join(str(part) for part in location)
    return f"{name}:{line}: {where}: {first['msg'].removeprefix('Value error, ')}"


def _line_of(text: str, table: str, item: int | str) -> int:
    """Return the line of `[[table]]` number `item`, or of `[table.item]`; 1 when it is written otherwise."""
    header = f"[[{table}]]" if isinstance(item, int) else f"[{table}.{item}]"
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.strip() == header]
    index = item if isinstance(item, int) else 0
    return lines[index] if index < len(lines) else 1
