"""Event streams through the gateway as they come over the wire: coming back, staying, stopping."""

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from .conftest import PROCESSES
from .platforms import Platform

BULK: Final = "/ofrep/v1/evaluate/flags"
PATIENCE_SECONDS: Final = 25  # longer than two heartbeats are apart


def define(platform: Platform, *keys: str) -> None:
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
    stored = platform.operator.put(
        "/v1/environments/staging/flagd", json={"flags": dict.fromkeys(keys, flag)}
    )
    assert stored.status_code == 200, stored.text


def announced(platform: Platform, key: Mapping[str, Any]) -> str:
    answer = httpx.post(platform.url + BULK, json={}, headers={"X-API-Key": key["secret"]})
    return platform.url + str(answer.json()["eventStreams"][0]["endpoint"]["requestUri"])


@contextmanager
def following(url: str, **headers: str) -> Iterator[Iterator[str]]:
    with httpx.stream("GET", url, headers=headers, timeout=PATIENCE_SECONDS) as answer:
        assert answer.status_code == 200, answer.read()
        yield answer.iter_lines()


def event(lines: Iterator[str]) -> dict[str, str]:
    """Return the next message that has data."""
    message: dict[str, str] = {}
    for line in lines:
        if not line and "data" in message:
            return message
        name, _, value = line.partition(": ")
        message[name] = value
    raise AssertionError("the stream ended")


@pytest.fixture
def key(platform: Platform) -> Mapping[str, Any]:
    define(platform, "one")
    key = platform.make_key(scopes=["flags:evaluate"], environment="staging")
    platform.wait_for_flag(key["secret"], "one")
    return key


def test_a_change_while_nobody_listened_is_told_at_once(platform: Platform, key: Mapping[str, Any]) -> None:
    url = announced(platform, key)
    with following(url) as lines:
        define(platform, "one", "two")
        seen = event(lines)
    assert json.loads(seen["data"])["type"] == "refetchEvaluation"
    define(platform, "one", "two", "three")
    with following(url, **{"Last-Event-ID": seen["id"]}) as lines:
        told = event(lines)
    assert told["id"] != seen["id"]


def test_the_address_of_a_stream_is_in_no_log(platform: Platform, key: Mapping[str, Any]) -> None:
    url = announced(platform, key)
    token = url.partition("token=")[2].partition("&")[0]
    with following(url) as lines:
        assert next(lines)
    platform.operator.delete(f"/v1/api-keys/{key['id']}")
    assert httpx.get(url).status_code == 401
    logs = [path.read_text() for path in platform.data_directory.parent.glob("*.log")]
    assert not any(part in log for part in token.split(".")[1:] for log in logs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "stopped"), [("one-process", "undercroft"), ("separate-processes", "flags")]
)
def test_an_open_stream_holds_up_no_stop(mode: str, stopped: str, tmp_path: Path) -> None:
    start: Callable[[Path], AbstractContextManager[Platform]] = PROCESSES[mode]
    with start(tmp_path) as platform:
        process = platform.processes[stopped]
        key = platform.make_key(scopes=["flags:evaluate"], environment="staging")
        with following(announced(platform, key)) as lines:
            assert next(lines).startswith("retry: ")
            process.send_signal(signal.SIGTERM)
            assert all(not line.startswith("data") for line in lines)  # ends as a whole answer does
        assert process.wait(15) == 0
        platform.operator.close()
