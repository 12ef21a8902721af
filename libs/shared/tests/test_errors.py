import json

import pytest

from undercroft.shared.errors import (
    BadGatewayError,
    BadRequestError,
    ConflictError,
    FieldProblem,
    RateLimitedError,
    ServiceError,
    UnauthenticatedError,
    UnavailableError,
    UnprocessableError,
    error_for_status,
    problem_body,
    problem_response,
)


def test_a_problem_carries_status_code_and_request_id() -> None:
    body = json.loads(
        problem_body(ConflictError("Taken.", code="slug_taken"), instance="/v1/x", request_id="req_1")
    )
    assert body == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "code": "slug_taken",
        "detail": "Taken.",
        "instance": "/v1/x",
        "requestId": "req_1",
    }


def test_members_without_a_value_are_left_out() -> None:
    body = json.loads(problem_body(ConflictError(), instance=None, request_id=None))
    assert set(body) == {"type", "title", "status", "code"}


def test_extensions_never_replace_the_standard_members() -> None:
    body = json.loads(
        problem_body(ConflictError(extensions={"status": 200, "x-y": 1}), instance=None, request_id=None)
    )
    assert (body["status"], body["x-y"]) == (409, 1)


def test_validation_problems_name_their_place() -> None:
    error = UnprocessableError(problems=[FieldProblem("#/a", "Too long.", "too_long")])
    assert json.loads(problem_body(error, instance=None, request_id=None))["errors"] == [
        {"pointer": "#/a", "detail": "Too long.", "code": "too_long"}
    ]


def test_a_401_always_says_how_to_authenticate() -> None:
    assert UnauthenticatedError().headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "error", [RateLimitedError(retry_after_seconds=0), UnavailableError(retry_after_seconds=0)]
)
def test_retry_after_is_at_least_a_second(error: ServiceError) -> None:
    assert error.headers["Retry-After"] == "1"


def test_the_response_has_the_problem_media_type() -> None:
    response = problem_response(BadRequestError("No."), instance="/", request_id="r")
    assert (response.status_code, response.media_type) == (400, "application/problem+json")


@pytest.mark.parametrize(
    ("status", "family"),
    [(409, ConflictError), (418, BadRequestError), (599, BadGatewayError), (302, BadGatewayError)],
)
def test_a_foreign_status_becomes_its_family(status: int, family: type[ServiceError]) -> None:
    error = error_for_status(status, "x", code="y")
    assert type(error) is family
    assert error.code == "y"
