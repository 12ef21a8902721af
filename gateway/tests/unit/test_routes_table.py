import pytest

from undercroft.gateway.routes_table import RoutesError, RouteTable, load_routes

LIMITS = """
[limits.authentication]
requests = 10
window_seconds = 60
per = "address"
on_failure = "closed"

[limits.normal]
requests = 10
window_seconds = 60
per = "credential"
on_failure = "open"
"""


def route(prefix: str, **values: str) -> str:
    members = {"upstream": '"flags"', "auth": '"any"', "methods": '["GET"]', **values}
    lines = "\n".join(f"{name} = {value}" for name, value in members.items())
    return f'\n[[routes]]\nprefix = "{prefix}"\n{lines}\n'


def table(*routes: str) -> RouteTable:
    return load_routes({"flags"}, text=LIMITS + "".join(routes))


def prefix_of(routes: RouteTable, path: str) -> str | None:
    found = routes.find(path)
    return found.prefix if found is not None else None


def test_the_shipped_routes_are_valid():
    routes = load_routes({"identity", "flags"})
    assert routes.upstreams() == {"identity", "flags"}
    assert prefix_of(routes, "/ofrep/v1/evaluate/flags/x") == "/ofrep/v1"


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/v1/things", "/v1/things"),
        ("/v1/things/", "/v1/things"),
        ("/v1/things/1/parts", "/v1/things"),
        ("/v1/things/special", "/v1/things/special"),
        ("/v1/things/special/x", "/v1/things/special"),
        ("/v1/owners/7/things", "/v1/owners/{owner}/things"),
        ("/v1/owners/7/things/1", "/v1/owners/{owner}/things"),
        ("/v1/thingsand", None),
        ("/v1/owners/7", None),
        ("/v1/owners//things", None),
        ("/v1", None),
        ("/", None),
    ],
)
def test_the_longest_prefix_wins(path: str, prefix: str | None):
    routes = table(route("/v1/things"), route("/v1/things/special"), route("/v1/owners/{owner}/things"))
    assert prefix_of(routes, path) == prefix


def test_a_literal_segment_wins_over_a_name():
    routes = table(route("/v1/{kind}/x"), route("/v1/flags"))
    assert prefix_of(routes, "/v1/flags/x") == "/v1/flags"
    assert prefix_of(routes, "/v1/other/x/y") == "/v1/{kind}/x"


def test_own_views_are_exact():
    routes = table(route("/v1/status", upstream='"gateway"'))
    assert prefix_of(routes, "/v1/status") == "/v1/status"
    assert prefix_of(routes, "/v1/status/x") is None


def test_the_home_is_itself_and_nothing_else():
    routes = table(route("/", upstream='"gateway"'), route("/{kind}"))
    assert prefix_of(routes, "/") == "/"
    assert prefix_of(routes, "/x") == "/{kind}"
    assert prefix_of(table(route("/", upstream='"gateway"')), "/x") is None


def test_the_label_is_a_template():
    routes = table(route("/v1/things"), route("/v1/status", upstream='"gateway"'))
    assert [each.template for each in routes.routes] == ["/v1/things/{path}", "/v1/status"]


def test_head_and_options_come_along():
    found = table(route("/v1/things")).find("/v1/things")
    assert found is not None
    assert found.allow == "GET, HEAD, OPTIONS"


def test_methods_of_one_prefix_may_be_different_routes():
    found = table(
        route("/v1/things", methods='["GET", "DELETE"]'),
        route("/v1/things", methods='["POST"]', auth='"public"'),
    ).find("/v1/things/1")
    assert found is not None
    assert found.allow == "DELETE, GET, HEAD, OPTIONS, POST"
    auth = {method: each.route.auth for method, each in found.by_method.items()}
    assert auth == {"GET": "any", "HEAD": "any", "DELETE": "any", "POST": "public"}


def test_sizes_have_units():
    found = table(route("/v1/things", body_limit='"10 MiB"')).find("/v1/things")
    assert found is not None
    assert found.first.route.body_limit == 10 * 1024 * 1024


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits", "routes.toml: "),
        (LIMITS + route("/internal/x"), "routes.toml:14: routes.0.prefix: /internal is never public"),
        (LIMITS + route("/v1/a") + route("/v1/B"), "routes.toml:20: routes.1.prefix: write a prefix"),
        (LIMITS + route("/v1/a", auth='["flags:fly"]'), "routes.0.auth: write"),
        (LIMITS + route("/v1/a", auth="[]"), "routes.0.auth: write"),
        (LIMITS + route("/v1/a", body_limit='"10"'), "routes.0.body_limit: write a size"),
        (LIMITS + route("/v1/a", upstream='"usage"'), "routes.toml:14: no upstream is named 'usage'"),
        (LIMITS + route("/v1/a", limit='"none"'), "routes.toml:14: no limit is named 'none'"),
        (LIMITS + route("/v1/{a}") + route("/v1/{b}"), "routes.toml:20: /v1/{b} is routed twice"),
        (LIMITS + route("/v1/a", auth='"public"', limit='"normal"'), "its limit must be per address"),
        (LIMITS + route("/v1/a", auth='"upstream"', limit='"normal"'), "its limit must be per address"),
        (LIMITS + route("/v1/a") + route("/v1/a"), "routes.toml:20: /v1/a is routed twice"),
        (
            LIMITS + route("/v1/a") + route("/v1/a", methods='["POST"]', upstream='"gateway"'),
            "routes.toml:20: /v1/a is /v1/a of flags for other methods",
        ),
        (LIMITS + route("/v1/a", auth='"nobody"'), "routes.0.auth: write"),
        (LIMITS + route("/v1/a", cors='"some"'), "routes.0.cors: "),
        (LIMITS + route("/v1/a", errors='"html"'), "routes.0.errors: "),
        (LIMITS + route("/v1/a", colour='"red"'), "routes.0.colour: Extra inputs"),
        (LIMITS + route("/"), "routes.toml:14: / would take every path"),
        (LIMITS + route("/v1/../a"), "routes.0.prefix: write a prefix"),
        (LIMITS.replace("requests = 10", "requests = 0"), "routes.toml:2: limits.authentication.requests: "),
        (LIMITS.replace("authentication", "other") + route("/v1/a"), "limits.authentication is missing"),
        (LIMITS, "routes.toml:1: routes: Field required"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(text: str, message: str):
    with pytest.raises(RoutesError) as caught:
        load_routes({"flags"}, text=text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
