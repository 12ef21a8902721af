"""What bulk answers say about event streams."""

import json
from urllib.parse import parse_qs, urlsplit

from services.flags.tests.factories import ORGANIZATION, ORGANIZATION_ID

from undercroft.flags.service.announcements import Announcement, Announcer
from undercroft.shared.auth import Principal, PrincipalKeys
from undercroft.shared.stream_tokens import StreamClaims, StreamTokenReader, StreamTokenSigner
from undercroft.shared.testing import principal_keys

KEY = Principal("key_01h455vb4pex5vsknk084sn02q", "api_key", ORGANIZATION, frozenset({"flags:evaluate"}))
OTHER = Principal("key_01h455vb4pex5vsknk084sn02r", "api_key", ORGANIZATION, frozenset({"flags:evaluate"}))
BULK = b'{"flags":[],"metadata":{}}'
READER = StreamTokenReader("flags", PrincipalKeys(principal_keys("gateway")))


class Clock:
    def __init__(self) -> None:
        self.now = 10_000.0

    def __call__(self) -> float:
        return self.now


def announcer(clock: Clock, *, has_key: bool = True) -> Announcer:
    keys = PrincipalKeys(principal_keys("flags") if has_key else {})
    signer = StreamTokenSigner("flags", keys)
    return Announcer(signer, life_seconds=200, inactivity_seconds=120, clock=clock)


def announced(announcer: Announcer, principal: Principal = KEY) -> Announcement:
    made = announcer.announce(principal, "production")
    assert made is not None
    return made


def claims_in(announcement: Announcement, *, now: float) -> StreamClaims:
    body = json.loads(announcement.extend(BULK, version="v1"))
    query = parse_qs(urlsplit(body["eventStreams"][0]["endpoint"]["requestUri"]).query)
    return READER.read(query["token"][0], now=now)


def test_the_answer_stays_an_object_and_says_where_the_stream_is():
    body = json.loads(announced(announcer(Clock())).extend(BULK, version="v1"))
    stream = body.pop("eventStreams")
    assert body == {"flags": [], "metadata": {}}
    assert [each["type"] for each in stream] == ["sse"]
    assert stream[0]["inactivityDelaySec"] == 120
    uri = urlsplit(stream[0]["endpoint"]["requestUri"])
    assert uri.path == "/ofrep/v1/events"
    assert parse_qs(uri.query)["since"] == ["v1"]


def test_the_token_names_caller_organization_and_environment():
    clock = Clock()
    claims = claims_in(announced(announcer(clock)), now=clock.now)
    assert (claims.subject, claims.organization, claims.environment) == (
        KEY.subject,
        ORGANIZATION_ID,
        "production",
    )


def test_a_token_is_the_same_for_half_of_its_life_and_lives_the_other_half():
    clock = Clock()
    source = announcer(clock)
    first = announced(source)
    clock.now += 99
    assert announced(source) is first
    clock.now += 1
    second = announced(source)
    assert second.marks[0] != first.marks[0]
    assert second.marks[1] == first.marks[0]
    assert claims_in(first, now=clock.now).expires_at == clock.now + 100


def test_a_mark_is_good_only_while_its_token_lives():
    clock = Clock()
    source = announcer(clock)
    first = announced(source)
    clock.now = claims_in(first, now=clock.now).expires_at
    assert first.marks[0] not in announced(source).marks


def test_callers_and_environments_share_no_mark():
    source = announcer(Clock())
    elsewhere = source.announce(KEY, "staging")
    assert elsewhere is not None
    marks = [*announced(source).marks, *announced(source, OTHER).marks, *elsewhere.marks]
    assert len(set(marks)) == 6


def test_processes_with_the_same_keys_announce_the_same():
    clock = Clock()
    one, two = announced(announcer(clock)), announced(announcer(clock))
    assert (one.marks, one.extend(BULK, version="v")) == (two.marks, two.extend(BULK, version="v"))


def test_without_a_key_nothing_is_announced():
    assert announcer(Clock(), has_key=False).announce(KEY, "production") is None


def test_what_is_remembered_is_bounded(monkeypatch):  # noqa: ANN001  pytest's own
    monkeypatch.setattr("undercroft.flags.service.announcements._REMEMBERED", 2)
    source = announcer(Clock())
    for environment in ("one", "two", "three"):
        source.announce(KEY, environment)
    assert [environment for _, environment in source._known] == ["two", "three"]
