"""The result of evaluating a flag, and its OFREP rendering."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, TypeAlias

import orjson

Metadata: TypeAlias = Mapping[str, str | int | float | bool]

_MAX_ECHO: Final = 100


class NoValue(Enum):
    """The type of NO_VALUE: null is a value, the absence of one is not."""

    NO_VALUE = "no value"


NO_VALUE: Final = NoValue.NO_VALUE
"""The caller's own default applies."""


class Reason(StrEnum):
    """Why an evaluation gave its value (OpenFeature's resolution reasons)."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    DISABLED = "DISABLED"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """OpenFeature's error codes that an evaluation without a requested type can end in."""

    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    PARSE_ERROR = "PARSE_ERROR"
    GENERAL = "GENERAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The outcome of one flag for one context. Shared between calls: its value must not be changed.

    ``variant`` is "" when no variant was chosen. ``error_code`` is set if and only if ``reason`` is ERROR.
    """

    key: str
    reason: Reason
    variant: str = ""
    value: object = NO_VALUE
    metadata: Metadata
    error_code: ErrorCode | None = None
    error_details: str = ""


class Answer:
    """An evaluation with its OFREP status and body."""

    __slots__ = ("body", "evaluation", "status")

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.status = _status(evaluation.error_code)
        self.body = _render(evaluation)


def failure(key: str, code: ErrorCode, details: str, metadata: Metadata) -> Answer:
    """Make the answer of a flag that cannot be evaluated."""
    key = key.encode(errors="replace").decode()
    return Answer(
        Evaluation(key=key, reason=Reason.ERROR, metadata=metadata, error_code=code, error_details=details)
    )


def not_found(key: str) -> Answer:
    """Make the answer for a key that names no flag."""
    return failure(key, ErrorCode.FLAG_NOT_FOUND, f"Flag {echo(key)} does not exist", {})


def echo(text: str) -> str:
    """Quote text from outside for an error message, cut to a bounded length."""
    return repr(text if len(text) <= _MAX_ECHO else f"{text[:_MAX_ECHO]}...")


def _status(code: ErrorCode | None) -> int:
    if code is None:
        return 200
    return 404 if code is ErrorCode.FLAG_NOT_FOUND else 400


def _render(evaluation: Evaluation) -> bytes:
    """Render an OFREP 0.3.0 answer; ``variant`` and ``errorDetails`` always, because a client indexes them."""
    body: dict[str, object] = {"key": evaluation.key}
    if evaluation.error_code is not None:
        body |= {"errorCode": evaluation.error_code, "errorDetails": evaluation.error_details}
    else:
        if evaluation.value is not NO_VALUE:
            body["value"] = evaluation.value
        body |= {"reason": evaluation.reason, "variant": evaluation.variant}
    # A copy: orjson leaves its answer in the buffer that it wrote to, which is many times as large.
    return bytes(memoryview(orjson.dumps(body | {"metadata": evaluation.metadata})))
