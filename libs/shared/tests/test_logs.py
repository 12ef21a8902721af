import io
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from typing_extensions import override

from undercroft.shared import logs
from undercroft.shared.logs import (
    bind_request_context,
    configure_logging,
    get_logger,
    log_access,
    log_context,
    reset_request_context,
)


class Terminal(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


pytestmark = pytest.mark.usefixtures("fresh_logging")

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().out


@pytest.fixture
def lines(output: Callable[[], str]) -> Lines:
    return lambda: [json.loads(line) for line in output().splitlines()]


def fail(error: Exception) -> None:
    raise error


def configure(**changes: Any) -> None:
    configure_logging(**{"log_format": "json", "log_level": "info", "service_name": "flags"} | changes)


def test_a_line_is_one_json_object_with_time_level_logger_and_service(lines: Lines):
    configure()
    get_logger("undercroft.flags.service").warning("flag\narchived", flag="beta", count=2)
    (line,) = lines()
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "level": "warning",
        "event": "flag\narchived",
        "logger": "undercroft.flags.service",
        "service": "flags",
        "flag": "beta",
        "count": 2,
    }


def test_auto_is_json_when_the_output_is_no_terminal(lines: Lines):
    configure(log_format="auto")
    get_logger("a").info("hello")
    assert lines()[0]["event"] == "hello"


def test_auto_is_coloured_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    configure(log_format="auto")
    get_logger("a").info("hello", password="hunter2")
    assert "\x1b[" in terminal.getvalue()
    assert "hello" in terminal.getvalue()
    assert "hunter2" not in terminal.getvalue()


def test_console_has_no_colour_codes_in_a_file_and_shows_the_stack(output: Callable[[], str]):
    configure(log_format="console")
    try:
        fail(OSError("postgresql://flags:hunter2@db/x"))
    except OSError:
        get_logger("a").exception("failed")
    text = output()
    assert "\x1b[" not in text
    assert "Traceback (most recent call last)" in text
    assert "hunter2" not in text


def test_secrets_never_reach_the_output(output: Callable[[], str]):
    configure()
    get_logger("a").info("hello", headers={"Authorization": "Bearer hunter2"}, key=SecretStr("hunter2"))
    logging.getLogger("b").warning("hello", extra={"api_key": "hunter2"})
    text = output()
    assert "hunter2" not in text
    assert text.count("[redacted]") == 3


def test_an_exception_is_a_structured_stack_without_local_variables(lines: Lines):
    configure()
    password = "hunter2"
    try:
        try:
            fail(OSError("gone"))
        except OSError as error:
            raise ValueError("bad") from error
    except ValueError:
        get_logger("a").exception("failed")
    (line,) = lines()
    outer, inner = line["exception"]
    assert (outer["exc_type"], outer["exc_value"], inner["exc_type"]) == ("ValueError", "bad", "OSError")
    assert inner["frames"][1]["name"] == "fail"
    assert outer["frames"][0]["name"] == "test_an_exception_is_a_structured_stack_without_local_variables"
    assert password not in str(line)


def test_an_exception_may_be_handed_over(lines: Lines):
    configure()
    get_logger("a").error("failed", exc_info=OSError("gone"))
    get_logger("a").error("failed", exc_info=True)
    given, none = lines()
    assert given["exception"][0]["exc_value"] == "gone"
    assert "exception" not in none


def test_lines_below_the_level_are_dropped(lines: Lines):
    configure(log_level="warning")
    get_logger("a").info("no")
    logging.getLogger("b").info("no")
    get_logger("a").warning("yes")
    logging.getLogger("b").warning("yes")
    assert [line["event"] for line in lines()] == ["yes", "yes"]


def test_the_standard_library_takes_the_same_way(lines: Lines):
    configure()
    bind_request_context(request_id="req-1")
    try:
        fail(OSError("gone"))
    except OSError:
        logging.getLogger("asyncpg").exception("lost %s", "db", extra={"host": "db", "color_message": "x"})
    (line,) = lines()
    line.pop("timestamp")
    assert line.pop("exception")[0]["exc_value"] == "gone"
    assert line == {
        "level": "error",
        "event": "lost db",
        "logger": "asyncpg",
        "service": "flags",
        "request_id": "req-1",
        "host": "db",
    }


def test_uvicorn_is_bridged_again_after_it_configured_itself(lines: Lines):
    configure()
    for name in ("uvicorn", "uvicorn.access"):
        logging.getLogger(name).addHandler(logging.StreamHandler(sys.stdout))
    logging.getLogger("uvicorn").propagate = False
    configure()
    logging.getLogger("uvicorn.error").info("Started")
    logging.getLogger("uvicorn.access").info("GET /secret?token=hunter2")
    assert [(line["logger"], line["event"]) for line in lines()] == [("uvicorn.error", "Started")]


def test_http_clients_do_not_announce_each_request(lines: Lines):
    configure()
    logging.getLogger("httpx").info("HTTP Request: GET http://identity/")
    logging.getLogger("httpx").warning("odd")
    assert [line["event"] for line in lines()] == ["odd"]


def test_configuring_again_adds_no_second_output(lines: Lines):
    configure()
    configure()
    get_logger("a").info("once")
    logging.getLogger("b").info("once")
    assert len(lines()) == 2


def test_configuring_otherwise_reaches_loggers_already_used(lines: Lines):
    configure()
    logger = get_logger("a")
    logger.debug("no")
    configure(log_level="debug")
    logger.debug("yes")
    assert [line["event"] for line in lines()] == ["yes"]


def test_several_applications_of_a_process_are_told_apart_by_what_they_bind(lines: Lines):
    configure(service_name="gateway")
    configure(service_name="flags")
    get_logger("a").info("whose?")
    outer = bind_request_context(request_id="req-1", service="gateway")
    inner = bind_request_context(service="flags", organization_id="org_1", principal_id="key_1")
    get_logger("a").info("inner")
    reset_request_context(inner)
    get_logger("a").info("outer")
    reset_request_context(outer)
    get_logger("a").info("after")
    written = lines()
    assert [line.get("service") for line in written] == [None, "flags", "gateway", None]
    assert [line.get("organization_id") for line in written] == [None, "org_1", None, None]
    assert [line.get("request_id") for line in written] == [None, "req-1", "req-1", None]


def test_a_block_can_name_its_lines(lines: Lines):
    configure()
    with log_context(migration="20261101_flags"):
        get_logger("a").info("inside")
    get_logger("a").info("outside")
    assert [line.get("migration") for line in lines()] == ["20261101_flags", None]


def test_the_access_line_has_the_template_and_a_rounded_duration(lines: Lines):
    configure()
    log_access(
        method="GET",
        path_template="/v1/flags/{flag}",
        status=200,
        duration_ms=1.23456,
        response_bytes=17,
    )
    (line,) = lines()
    assert (line["event"], line["method"], line["path"]) == ("request", "GET", "/v1/flags/{flag}")
    assert (line["status"], line["duration_ms"], line["response_bytes"]) == (200, 1.23, 17)


def test_the_access_line_is_like_any_other_of_its_request(lines: Lines):
    configure()
    tokens = bind_request_context(request_id="uc_live_" + "1" * 26 + "_secret", service="gateway")
    log_access(method="GET", path_template="/v1/flags", status=200, duration_ms=1, client_secret="x")
    get_logger("undercroft.access").info(
        "request", method="GET", path="/v1/flags", status=200, duration_ms=1, client_secret="x"
    )
    reset_request_context(tokens)
    direct, usual = lines()
    assert list(direct) == list(usual)
    assert {**direct, "timestamp": ""} == {**usual, "timestamp": ""}
    assert (direct["service"], direct["client_secret"]) == ("gateway", "[redacted]")


@pytest.mark.parametrize(
    ("changes", "is_written"), [({"log_level": "warning"}, False), ({"log_format": "console"}, True)]
)
def test_the_access_line_follows_the_configuration(
    output: Callable[[], str], changes: dict[str, str], *, is_written: bool
):
    configure(**changes)
    log_access(method="GET", path_template="/v1/flags", status=200, duration_ms=1)
    assert ("/v1/flags" in output()) is is_written


def test_what_orjson_refuses_is_still_written(lines: Lines):
    configure()
    get_logger("a").info("odd", text="\ud800", big=2**70)
    assert lines()[0]["big"] == 2**70


def test_a_closed_output_does_not_break_the_work(monkeypatch: pytest.MonkeyPatch):
    closed = io.StringIO()
    closed.close()
    configure()
    monkeypatch.setattr(sys, "stdout", closed)
    get_logger("a").info("nobody reads this")


def test_a_broken_record_is_reported_on_stderr(capsys: pytest.CaptureFixture[str]):
    configure()
    # pytest's own handler raises here, so the record goes to ours alone.
    logs._handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    assert "Logging error" in capsys.readouterr().err


def test_a_logger_works_before_logging_is_configured(output: Callable[[], str]):
    get_logger("early").info("hello")
    assert "hello" in output()
