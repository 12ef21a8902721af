import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.gateway.errors import MalformedRequestError, TargetTooLongError
from undercroft.gateway.proxy.targets import check_method, check_target
from undercroft.shared.errors import NotImplementedMethodError


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/v1/flags",
        b"/v1/flags/",
        b"/v1/flags/a.b-c_d~e",
        b"/v1/flags/...",
        b"/v1/flags/.well-known",
        b"/v1/flags/a:b@c!$&'()*+,;=",
        b"/v1/flags/caf%C3%A9",
        b"/v1/flags/a%20b",
    ],
)
def test_plain_paths_pass(path: bytes):
    assert check_target(path, b"") == path.decode()


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"*",
        b"v1/flags",
        b"//v1/flags",
        b"/v1//flags",
        b"/v1/./flags",
        b"/v1/../internal",
        b"/v1/..",
        b"/v1/.",
        b"/v1/%2e%2e/internal",
        b"/v1/%2E./internal",
        b"/v1/.%2e",
        b"/v1%2finternal",
        b"/v1%2Finternal",
        b"/v1%5cinternal",
        b"/v1\\internal",
        b"/v1/%00",
        b"/v1/%0d%0aX:1",
        b"/v1/%7f",
        b"/v1/%252e%252e",
        b"/v1/%ff",
        b"/v1/%c3%28",
        b"/v1/%zz",
        b"/v1/%2",
        b"/v1/a b",
        b"/v1/a#b",
        b'/v1/"',
        b"/v1/\xe9",
        b"/v1/flags\n",
    ],
)
def test_paths_that_could_be_read_in_two_ways_are_refused(path: bytes):
    with pytest.raises(MalformedRequestError) as caught:
        check_target(path, b"")
    assert (caught.value.status, caught.value.code) == (400, "malformed_request")


@pytest.mark.parametrize("query", [b"a=1&b=%20", b"filter[x]=1", b"", b"a=/?:@"])
def test_plain_queries_pass(query: bytes):
    assert check_target(b"/v1", query) == "/v1"


@pytest.mark.parametrize("query", [b"a b", b"a#b", b"%", b"\x00", b"\xe9", b"a\r\n"])
def test_broken_queries_are_refused(query: bytes):
    with pytest.raises(MalformedRequestError):
        check_target(b"/v1", query)


def test_long_targets_are_refused():
    with pytest.raises(TargetTooLongError) as caught:
        check_target(b"/" + b"a" * 4_096, b"b" * 4_096)
    assert (caught.value.status, caught.value.code) == (414, "target_too_long")


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get", ""])
def test_unknown_methods_are_refused(method: str):
    with pytest.raises(NotImplementedMethodError) as caught:
        check_method(method)
    assert (caught.value.status, caught.value.code) == (501, "not_implemented")


@given(st.binary(max_size=60))
def test_whatever_passes_has_no_other_reading(path: bytes):
    try:
        passed = check_target(path, b"")
    except MalformedRequestError:
        return
    segments = passed.split("/")
    assert segments[0] == ""
    assert not {".", ".."} & set(segments)
    assert "" not in segments[1:-1]
