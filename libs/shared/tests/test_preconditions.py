import re

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from undercroft.shared.errors import PreconditionFailedError, PreconditionRequiredError
from undercroft.shared.preconditions import (
    IfMatch,
    IfNoneMatch,
    check_if_match,
    check_if_none_match,
    etag_for,
    if_none_match_matches,
)

NO_LISTS = [
    "abc",
    '"abc',
    'abc"',
    '"a""b"',
    '"a" "b"',
    'w/"abc"',
    'W/ "abc"',
    '*, "abc"',
    '"a\nb"',
    '"a b"',
    "'abc'",
]


def if_match_passes(header: str | None, etag: str | None) -> bool:
    try:
        check_if_match(header, etag)
    except PreconditionFailedError:
        return False
    return True


def if_none_match_passes(header: str | None, etag: str | None) -> bool:
    try:
        check_if_none_match(header, etag)
    except PreconditionFailedError:
        return False
    return True


@pytest.mark.parametrize(("revision", "etag"), [(7, '"7"'), (0, '"0"'), ("v1.2-a", '"v1.2-a"'), ("", '""')])
def test_numbers_and_names_are_shown_as_they_are(revision: int | str, etag: str):
    assert etag_for(revision) == etag


@pytest.mark.parametrize("revision", [b"", b"content", 'a"b', "a b", "é", "a\n", "x" * 65])
def test_anything_else_is_shown_by_its_digest(revision: bytes | str):
    assert re.fullmatch(r'"[\w-]{24}"', etag_for(revision))
    assert etag_for(revision) == etag_for(revision)


def test_different_contents_have_different_tags():
    assert len({etag_for(content) for content in (b"a", b"b", b"", "é", "è")}) == 5


# The table of RFC 9110, section 8.8.3.2.
@pytest.mark.parametrize(
    ("sent", "current", "is_strong_match", "is_weak_match"),
    [
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', 'W/"1"', False, True),
        ('"1"', '"1"', True, True),
    ],
)
def test_strong_and_weak_comparison(sent: str, current: str, *, is_strong_match: bool, is_weak_match: bool):
    assert if_match_passes(sent, current) is is_strong_match
    assert if_none_match_matches(sent, current) is is_weak_match


@pytest.mark.parametrize(
    ("header", "is_match"),
    [
        ('"x", "abc"', True),
        ('"abc","x"', True),
        ('W/"x",\t"abc" , ', True),
        (', ,"abc"', True),
        ('"a,b", "abc"', True),
        ('"x", "y"', False),
        ('"abc,x"', False),
        ('"ABC"', False),
        ('""', False),
        ("", False),
        (",", False),
    ],
)
def test_lists_match_by_any_of_their_tags(header: str, *, is_match: bool):
    assert if_match_passes(header, '"abc"') is is_match
    assert if_none_match_matches(header, '"abc"') is is_match
    assert if_none_match_passes(header, '"abc"') is not is_match


def test_a_tag_may_hold_a_comma_or_latin_letters():
    assert if_match_passes('"x", "a,b"', '"a,b"')
    assert if_match_passes('"\xe9"', '"\xe9"')


@pytest.mark.parametrize("header", ["*", " * "])
def test_a_star_stands_for_any_resource_that_exists(header: str):
    assert if_match_passes(header, '"1"')
    assert not if_match_passes(header, None)
    assert if_none_match_matches(header, '"1"')
    assert not if_none_match_matches(header, None)
    assert not if_none_match_passes(header, '"1"')
    assert if_none_match_passes(header, None)


@pytest.mark.parametrize("header", NO_LISTS)
def test_a_header_that_is_no_list_of_tags_changes_nothing(header: str):
    assert not if_match_passes(header, '"abc"')
    assert not if_none_match_passes(header, '"abc"')
    assert not if_none_match_matches(header, '"abc"')


def test_without_the_header_everything_passes():
    assert if_match_passes(None, '"1"')
    assert if_none_match_passes(None, '"1"')
    assert not if_none_match_matches(None, '"1"')


def test_a_resource_that_does_not_exist_matches_no_tag():
    assert not if_match_passes('"1"', None)
    assert if_none_match_passes('"1"', None)


def test_the_error_is_a_412_with_its_code():
    with pytest.raises(PreconditionFailedError, match="read it again") as caught:
        check_if_match('"1"', '"2"')
    assert (caught.value.status, caught.value.code) == (412, "precondition_failed")


def test_a_precondition_can_be_required():
    with pytest.raises(PreconditionRequiredError, match="Send If-Match") as caught:
        check_if_match(None, '"2"', is_required=True)
    assert (caught.value.status, caught.value.code) == (428, "precondition_required")
    check_if_match('"2"', '"2"', is_required=True)


def test_a_hostile_header_is_read_in_linear_time():
    # In quadratic time each of these would take longer than the whole suite.
    for header in (" " * 600_000 + "x", "," * 600_000 + "x", '"a",' * 150_000 + "x", "W/" * 300_000):
        assert not if_none_match_matches(header, '"1"')


async def test_repeated_header_lines_are_one_list():
    app = FastAPI()

    @app.get("/")
    async def read(if_match: IfMatch, if_none_match: IfNoneMatch) -> list[str | None]:
        return [if_match, if_none_match]

    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        sent = [("If-Match", '"a"'), ("If-Match", '"b", "c"'), ("If-None-Match", "*")]
        assert (await client.get("/", headers=sent)).json() == ['"a", "b", "c"', "*"]
        assert (await client.get("/")).json() == [None, None]
    names = [parameter["name"] for parameter in app.openapi()["paths"]["/"]["get"]["parameters"]]
    assert names == ["if-match", "if-none-match"]
