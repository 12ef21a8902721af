"""Every OFREP answer that a test receives, held against the strict restatement of the protocol's schema."""

import json
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import jsonschema

_SCHEMA = Path(__file__).parent / "ofrep-strict-responses.schema.json"
_BULK = "/ofrep/v1/evaluate/flags"
_OWN_STATUSES = {200, 304, 400, 404, 500}  # the others are problem documents


async def check_async(response: httpx.Response) -> None:
    """Be an event hook of `httpx.AsyncClient`: an evaluation is read and checked, a stream is left alone."""
    if is_evaluation(response.request.method, response.request.url.path):
        body = await response.aread()
        check(str(response.request.url), response.status_code, response.headers.get("Content-Type"), body)


def is_evaluation(method: str, path: str) -> bool:
    """Tell whether a request is answered as OFREP says."""
    return method == "POST" and (path == _BULK or path.startswith(f"{_BULK}/"))


def check(url: str, status: int, content_type: str | None, body: bytes) -> None:
    """Raise unless an answer to an evaluation has the form of OFREP 0.3.0."""
    if status not in _OWN_STATUSES:
        assert content_type == "application/problem+json", (status, content_type)
        return
    if status == 304:
        assert body == b"", "a 304 has no body"
        return
    assert content_type == "application/json", (status, content_type)
    key = unquote(urlsplit(url).path)[len(_BULK) + 1 :]
    answer = json.loads(body)
    _validator(_part(status, is_bulk=not key)).validate(answer)
    if key:
        assert answer["key"] == key


def _part(status: int, *, is_bulk: bool) -> str:
    if status == 200:
        return "bulk" if is_bulk else "success"
    return "bulkFailure" if is_bulk else "failure"


@cache
def _validator(part: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(_SCHEMA.read_text())
    return jsonschema.Draft202012Validator({**schema, "$ref": f"#/$defs/{part}"})
