"""OFREP answers held against the strict schema, by the checks of the flags service's own tests."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

import httpx
import requests

_CHECKS: Final = Path(__file__).parents[2] / "services" / "flags" / "tests" / "ofrep_answers.py"


def _load() -> Any:  # a module
    spec = spec_from_file_location("ofrep_answers", _CHECKS)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_checks: Final = _load()


def check_answer(method: str, url: str, status: int, content_type: str | None, body: bytes) -> None:
    """Raise unless an answer has the form of OFREP 0.3.0, or is to another kind of request."""
    if _checks.is_evaluation(method, "/" + url.split("/", 3)[3].partition("?")[0]):
        _checks.check(url, status, content_type, body)


def check_httpx(response: httpx.Response) -> None:
    """Be an event hook of `httpx.Client`."""
    method, url = response.request.method, str(response.request.url)
    if _checks.is_evaluation(method, response.request.url.path):
        content_type = response.headers.get("Content-Type")
        check_answer(method, url, response.status_code, content_type, response.read())


def check_response(response: requests.Response, *_: Any, **__: Any) -> None:  # the hook's own
    """Be a hook of a session of requests."""
    content_type = response.headers.get("Content-Type")
    method = response.request.method or ""
    check_answer(method, response.request.url or "", response.status_code, content_type, response.content)
