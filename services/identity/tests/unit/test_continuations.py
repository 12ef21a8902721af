import pytest

from undercroft.identity.domain.continuations import continuation


@pytest.mark.parametrize(
    "path", ["/", "/account", "/oauth/authorize?client_id=a&state=%2F%2Fb", "/a//b", "/%2F%2Fevil"]
)
def test_a_path_of_this_host_stays_as_it_is(path: str):
    assert continuation(path, otherwise="/account") == path


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "account",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "\t//evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/ /evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/a\\b",
        "/\u2028/evil",
        "/" + "a" * 5_000,
    ],
)
def test_anything_else_is_replaced(path: str | None):
    assert continuation(path, otherwise="/account") == "/account"
