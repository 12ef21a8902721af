"""Log lines: structlog for our code, the standard library and Uvicorn bridged into the same form.

One JSON object a line in production, colour on a terminal. Secrets are taken out by `redaction`. The output belongs
to the process: applications that share one share it and are told apart by the `service` they bind.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, cast

import orjson
import structlog
from structlog.contextvars import bind_contextvars, get_contextvars, merge_contextvars, reset_contextvars
from structlog.processors import ExceptionRenderer, StackInfoRenderer
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger
from typing_extensions import override

from undercroft.shared.redaction import redact

LogFormat = Literal["auto", "json", "console"]
ContextTokens = Mapping[str, Token[object]]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_LEVEL_OF_METHOD: Final = {"exception": "error", "warn": "warning", "fatal": "critical", "notset": "debug"}
# They announce every request at `info`, which our own access line and spans already tell.
_TALKATIVE: Final = ("httpx", "httpcore", "httpx2", "httpcore2")
_BRIDGED: Final = ("uvicorn", "uvicorn.error", "uvicorn.asgi")
_ACCESS: Final = "undercroft.access"


class _Output:
    """A named logger's end: the process's standard output, looked up at each line so that redirecting it works."""

    _lock = threading.Lock()

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """Write one line whole. An output that is gone never breaks the work that logs."""
        try:
            with self._lock:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
        except (OSError, ValueError, AttributeError):
            pass

    log = debug = info = warning = warn = error = exception = critical = fatal = msg


class _BridgeHandler(logging.Handler):
    """Send records of the standard library to our output."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            _output.msg(self.format(record))
        except Exception:  # noqa: BLE001 - the contract of logging: report on stderr, never raise
            self.handleError(record)


@dataclass
class _Process:
    """What this process has configured so far."""

    configured: tuple[LogFormat, str] | None = None
    is_access_direct: bool = False
    services: set[str] = field(default_factory=set)
    loggers: dict[str, FilteringBoundLogger] = field(default_factory=dict)


_output = _Output()
_handler = _BridgeHandler()
_process = _Process()


def configure_logging(*, log_format: LogFormat, log_level: str, service_name: str) -> None:
    """Set up the process's logging; calling it again changes only what differs.

    Lines carry `service` where one is bound (`bind_request_context`), or when this process has only one.
    """
    _process.services.add(service_name)
    if _process.configured != (log_format, log_level):
        _configure_output(log_format, _LEVELS[log_level])
        _process.configured = (log_format, log_level)
    # Repeated each time: whoever starts Uvicorn with its default configuration has undone it since.
    _bridge_standard_library(_LEVELS[log_level])


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module. It may be made at import, before logging is configured."""
    if name not in _process.loggers:
        _process.loggers[name] = cast("FilteringBoundLogger", structlog.get_logger(name))
    return _process.loggers[name]


def bind_request_context(
    *,
    request_id: str | None = None,
    trace_id: str | None = None,
    organization_id: str | None = None,
    principal_id: str | None = None,
    service: str | None = None,
) -> ContextTokens:
    """Put what is known on every line logged from here on in this task; None leaves a value as it is.

    Hand the answer to `reset_request_context` when the request ends: in one process a call to another service runs
    in its caller's task.
    """
    known = {
        "request_id": request_id,
        "trace_id": trace_id,
        "organization_id": organization_id,
        "principal_id": principal_id,
        "service": service,
    }
    return bind_contextvars(**{name: value for name, value in known.items() if value is not None})


def reset_request_context(tokens: ContextTokens) -> None:
    """Undo `bind_request_context`."""
    reset_contextvars(**tokens)


@contextmanager
def log_context(**values: object) -> Iterator[None]:
    """Put values on every line logged within the block."""
    tokens = bind_contextvars(**values)
    try:
        yield
    finally:
        reset_contextvars(**tokens)


def log_access(
    *,
    method: str,
    path_template: str,
    status: int,
    duration_ms: float,
    **details: str | float | None,
) -> None:
    """Log the one line of a finished request: its route's template, never the raw path, which may hold secrets."""
    values: dict[str, object] = {
        "method": method,
        "path": path_template,
        "status": status,
        "duration_ms": round(duration_ms, 2),
        **details,
    }
    if not _process.is_access_direct:
        get_logger(_ACCESS).info("request", **values)
        return
    # The line that every request writes: structlog's chain would take four times as long to the same end.
    line = _head("info", "request", _ACCESS)
    line.update(redact({**values, **get_contextvars(), **values}))
    _output.msg(_to_json(line))


def _configure_output(log_format: LogFormat, level: int) -> None:
    is_json = log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())
    _process.is_access_direct = is_json and level <= _LEVELS["info"]
    render: list[Processor]
    if is_json:
        render = [
            # No local variables: they hold secrets under every name.
            ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=40)),
            _finish,
            _render_json,
        ]
    else:
        render = [
            ExceptionRenderer(),
            _finish,
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                sort_keys=False,
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    structlog.configure(
        processors=[merge_contextvars, StackInfoRenderer(), *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Output,
        cache_logger_on_first_use=True,
    )
    # A logger keeps the configuration of its first line; without this it would keep it for ever.
    for logger in _process.loggers.values():
        vars(logger).pop("bind", None)
    _handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[merge_contextvars, ExtraAdder(), _name_standard_logger],
            processors=[ProcessorFormatter.remove_processors_meta, *render],
        )
    )


def _bridge_standard_library(level: int) -> None:
    root = logging.getLogger()
    if _handler not in root.handlers:
        root.addHandler(_handler)
    root.setLevel(level)
    for name in _BRIDGED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # Uvicorn's access line has the raw path in it; `log_access` replaces it.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _name_standard_logger(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record = event["_record"]
    event["logger"] = record.name
    # The same message again, left by Uvicorn's colouring and by formatters of other handlers.
    for copy in ("color_message", "message", "asctime"):
        event.pop(copy, None)
    return event


def _finish(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Order the members, add time, level, logger and service, take the secrets out."""
    line = _head(_LEVEL_OF_METHOD.get(method, method), event.pop("event", ""), getattr(logger, "name", ""))
    line.update(event)
    return redact(line)


def _head(level: str, event: object, logger: str) -> dict[str, object]:
    """Begin a line with what every one has."""
    now = time.time()
    line: dict[str, object] = {
        "timestamp": f"{_second(int(now))}.{int(now * 1000) % 1000:03}Z",
        "level": level,
        "event": event,
        "logger": logger,
    }
    if len(_process.services) == 1:
        (line["service"],) = _process.services
    return line


@lru_cache(maxsize=4)
def _second(unix_time: int) -> str:
    return datetime.fromtimestamp(unix_time, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _to_json(event)


def _to_json(event: Mapping[str, object]) -> str:
    try:
        return orjson.dumps(event, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC).decode()
    except TypeError:
        # What orjson refuses and the standard library writes: lone surrogates, integers beyond 64 bits.
        return json.dumps(event, default=str)
