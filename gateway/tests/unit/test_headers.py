from ipaddress import ip_network

import pytest

from undercroft.gateway.errors import HeadersTooLargeError, MalformedRequestError
from undercroft.gateway.proxy.cors import CorsRules
from undercroft.gateway.proxy.headers import (
    RequestHeaders,
    client_address,
    client_scheme,
    forwarded_value,
    network_of,
    response_headers,
)

TRUSTED = (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    "name",
    [
        b"undercroft-principal",
        b"undercroft_principal",
        b"undercroft-anything",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x_forwarded_for",
        b"x-real-ip",
        b"x-user-id",
        b"x-org-id",
        b"x-internal-secret",
        b"authorization",
        b"x-api-key",
        b"dpop",
        b"cookie",
        b"x-organization",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"host",
        b"via",
        b"expect",
        b"request-timeout-ms",
        b"traceparent",
    ],
)
def test_headers_that_are_not_the_callers_to_set_are_dropped(name: bytes):
    headers = RequestHeaders([(name, b"x"), (b"accept", b"*/*")])
    assert headers.kept == [(b"accept", b"*/*")]


def test_headers_that_connection_names_are_dropped():
    headers = RequestHeaders(
        [
            (b"connection", b"close, X-Drop"),
            (b"connection", b"x-too"),
            (b"x-drop", b"1"),
            (b"x-too", b"2"),
            (b"x-keep", b"3"),
        ]
    )
    assert headers.kept == [(b"x-keep", b"3")]


def test_ordinary_headers_are_kept_in_order_and_number():
    given = [(b"accept", b"a"), (b"x-a", b"1"), (b"accept", b"b"), (b"content-type", b"c")]
    assert RequestHeaders(given).kept == given


@pytest.mark.parametrize(
    "name", [b"host", b"content-length", b"authorization", b"x-api-key", b"content-type", b"origin"]
)
def test_headers_that_mean_one_thing_are_sent_once(name: bytes):
    with pytest.raises(MalformedRequestError) as caught:
        RequestHeaders([(name, b"1"), (name, b"1")])
    assert (caught.value.status, caught.value.code) == (400, "malformed_request")


def test_lists_are_joined():
    assert RequestHeaders([(b"via", b"1.1 a"), (b"via", b"1.1 b")]).get(b"via") == b"1.1 a, 1.1 b"


@pytest.mark.parametrize(
    "headers",
    [[(b"x%d" % number, b"") for number in range(101)], [(b"x", b"y" * 32_769)]],
    ids=["many", "large"],
)
def test_too_many_or_too_large_headers_are_refused(headers: list[tuple[bytes, bytes]]):
    with pytest.raises(HeadersTooLargeError) as caught:
        RequestHeaders(headers)
    assert (caught.value.status, caught.value.code) == (431, "headers_too_large")


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], 0),
        ([(b"content-length", b"5")], 5),
        ([(b"transfer-encoding", b"chunked")], None),
        ([(b"transfer-encoding", b" Chunked ")], None),
    ],
)
def test_the_length_of_a_body(headers: list[tuple[bytes, bytes]], length: int | None):
    assert RequestHeaders(headers).content_length() == length


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"content-length", b"+5")],
        [(b"content-length", b"5, 5")],
        [(b"content-length", b"9" * 19)],
        [(b"content-length", b"")],
    ],
)
def test_a_length_that_could_be_read_in_two_ways_is_refused(headers: list[tuple[bytes, bytes]]):
    with pytest.raises(MalformedRequestError):
        RequestHeaders(headers).content_length()


def test_answers_lose_what_is_not_for_the_caller():
    answer = [
        (b"content-type", b"text/plain"),
        (b"connection", b"x-hop"),
        (b"x-hop", b"1"),
        (b"undercroft-debug", b"1"),
        (b"server", b"uvicorn"),
        (b"date", b"now"),
        (b"request-id", b"theirs"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-credentials", b"true"),
    ]
    assert response_headers(answer) == [(b"content-type", b"text/plain")]
    assert response_headers(answer, keeps_cookies=True) == [
        (b"content-type", b"text/plain"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
    ]


def test_a_chunked_answer_has_no_length():
    assert response_headers([(b"content-length", b"2"), (b"transfer-encoding", b"chunked")]) == []


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", b"198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", b"198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", b"1.2.3.4, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", b"nonsense", "10.0.0.1"),
        ("10.0.0.1", b'fe80::1%x";for=6.6.6.6', "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("unknown", b"198.51.100.1", "unknown"),
    ],
)
def test_only_trusted_proxies_tell_the_callers_address(peer: str, forwarded: bytes | None, address: str):
    headers = RequestHeaders([(b"x-forwarded-for", forwarded)] if forwarded else [])
    assert client_address(peer, headers, TRUSTED) == address


def test_nobody_is_trusted_by_default():
    headers = RequestHeaders([(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-proto", b"https")])
    assert client_address("10.0.0.1", headers, ()) == "10.0.0.1"
    assert client_scheme("10.0.0.1", "http", headers, ()) == "http"
    assert client_scheme("10.0.0.1", "http", headers, TRUSTED) == "https"


@pytest.mark.parametrize(
    ("address", "host", "value"),
    [
        ("192.0.2.1", b"a.example:80", b'for=192.0.2.1;proto=http;host="a.example:80"'),
        ("2001:db8::1", None, b'for="[2001:db8::1]";proto=http'),
        ("192.0.2.1", b'a";for=x', b"for=192.0.2.1;proto=http"),
        ("192.0.2.1", b"a,for=6.6.6.6", b"for=192.0.2.1;proto=http"),
        ("192.0.2.1", b"a;for=6.6.6.6", b"for=192.0.2.1;proto=http"),
    ],
)
def test_the_forwarded_header(address: str, host: bytes | None, value: bytes):
    assert forwarded_value(address, "http", host) == value


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("unknown", "unknown"),
        ("not:an:address", "not:an:address"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_household_is_counted_as_one(address: str, network: str):
    assert network_of(address) == network


def test_a_list_of_origins_lets_only_them_in():
    rules = CorsRules(["https://app.example"])
    assert (b"access-control-allow-origin", b"https://app.example") in rules.headers_for(
        b"https://app.example"
    )
    assert rules.headers_for(b"https://evil.example") == [(b"vary", b"Origin")]
    assert rules.preflight_headers(b"https://evil.example", "GET") == [(b"vary", b"Origin")]
