"""Every error that crosses a service border: one tree, one rendering (RFC 9457 problem details).

ServiceError
├── BadRequestError 400
├── UnauthenticatedError 401
├── ForbiddenError 403
├── NotFoundError 404
├── MethodNotAllowedError 405
├── ConflictError 409
├── GoneError 410
├── PreconditionFailedError 412
├── PayloadTooLargeError 413
├── UnsupportedMediaTypeError 415
├── UnprocessableError 422 (carries `problems`)
├── PreconditionRequiredError 428
├── RateLimitedError 429
├── InternalError 500
├── NotImplementedMethodError 501
├── BadGatewayError 502
├── UnavailableError 503
└── GatewayTimeoutError 504
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

from starlette.responses import Response

from undercroft.shared.serialization import dumps

PROBLEM_MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One rejected member: a JSON pointer as URI fragment (`#/a/b`), a sentence, a stable code."""

    pointer: str
    detail: str
    code: str


class ServiceError(Exception):
    """Base of every error with a status; `detail` is safe to show to a caller.

    Subclasses fix `status`, `code` (stable snake_case) and `title`. `headers` are sent with the answer,
    `extensions` become further members of the problem object.
    """

    status: ClassVar[int] = 500
    code: str = "internal_error"
    title: ClassVar[str] = ""
    type: ClassVar[str] = "about:blank"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        self.headers: dict[str, str] = dict(headers or {})
        self.extensions: dict[str, object] = dict(extensions or {})


class BadRequestError(ServiceError):
    """The request cannot be understood."""

    status = 400
    code = "bad_request"


class UnauthenticatedError(ServiceError):
    """No valid credentials; answers carry `WWW-Authenticate` (RFC 9110 section 15.5.2)."""

    status = 401
    code = "unauthenticated"

    def __init__(
        self, detail: str = "", *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail, code=code, headers=headers)
        self.headers.setdefault("WWW-Authenticate", 'Bearer realm="undercroft"')


class ForbiddenError(ServiceError):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"


class NotFoundError(ServiceError):
    """There is no such thing, or not for this caller."""

    status = 404
    code = "not_found"


class MethodNotAllowedError(ServiceError):
    """The path exists, the method does not; answers carry `Allow`."""

    status = 405
    code = "method_not_allowed"


class ConflictError(ServiceError):
    """The change contradicts what is stored."""

    status = 409
    code = "conflict"


class GoneError(ServiceError):
    """It was here and will not come back."""

    status = 410
    code = "gone"


class PreconditionFailedError(ServiceError):
    """The resource changed since the caller read it (`If-Match`)."""

    status = 412
    code = "precondition_failed"


class PayloadTooLargeError(ServiceError):
    """The body exceeds its limit."""

    status = 413
    code = "payload_too_large"


class UnsupportedMediaTypeError(ServiceError):
    """The body's media type is not understood here."""

    status = 415
    code = "unsupported_media_type"


class UnprocessableError(ServiceError):
    """The body is well-formed and its content is refused; `problems` says where and why."""

    status = 422
    code = "validation_failed"

    def __init__(
        self,
        detail: str = "The request has invalid members.",
        *,
        code: str | None = None,
        problems: Sequence[FieldProblem] = (),
    ) -> None:
        super().__init__(detail, code=code)
        self.problems = tuple(problems)
        if problems:
            self.extensions["errors"] = [
                {"pointer": each.pointer, "detail": each.detail, "code": each.code} for each in problems
            ]


class PreconditionRequiredError(ServiceError):
    """The change must be conditional (RFC 6585 section 3)."""

    status = 428
    code = "precondition_required"


class RateLimitedError(ServiceError):
    """Too many requests; answers carry `Retry-After` in whole seconds and are never stored."""

    status = 429
    code = "rate_limited"
    title = "Too Many Requests"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        retry_after_seconds: int = 1,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        headers = {"Retry-After": str(max(1, retry_after_seconds)), "Cache-Control": "no-store"}
        super().__init__(detail, code=code, headers=headers, extensions=extensions)


class InternalError(ServiceError):
    """Something broke that the caller cannot mend; the log has the cause."""

    status = 500
    code = "internal_error"


class NotImplementedMethodError(ServiceError):
    """The method is not known to this server (RFC 9110 section 15.6.2)."""

    status = 501
    code = "not_implemented"


class BadGatewayError(ServiceError):
    """Another service answered what it should never answer."""

    status = 502
    code = "bad_gateway"


class UnavailableError(ServiceError):
    """Something needed is away for now; answers carry `Retry-After` in whole seconds."""

    status = 503
    code = "unavailable"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        retry_after_seconds: int = 1,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        headers = {"Retry-After": str(max(1, retry_after_seconds))}
        super().__init__(detail, code=code, headers=headers, extensions=extensions)


class GatewayTimeoutError(ServiceError):
    """Another service did not answer in time."""

    status = 504
    code = "gateway_timeout"


_FAMILIES: dict[int, type[ServiceError]] = {
    family.status: family
    for family in (
        BadRequestError,
        UnauthenticatedError,
        ForbiddenError,
        NotFoundError,
        MethodNotAllowedError,
        ConflictError,
        GoneError,
        PreconditionFailedError,
        PayloadTooLargeError,
        UnsupportedMediaTypeError,
        UnprocessableError,
        PreconditionRequiredError,
        RateLimitedError,
        InternalError,
        NotImplementedMethodError,
        BadGatewayError,
        UnavailableError,
        GatewayTimeoutError,
    )
}


def error_for_status(status: int, detail: str, *, code: str | None = None) -> ServiceError:
    """Return the family's error for an HTTP status; statuses without a family map to 400, 500 or 502.

    Clients use it to raise the error that another service sent as the same typed error again.
    """
    family = _FAMILIES.get(status)
    if family is None:
        family = BadRequestError if HTTPStatus.BAD_REQUEST <= status < 500 else BadGatewayError  # noqa: PLR2004
    return family(detail, code=code)


def problem_body(error: ServiceError, *, instance: str | None, request_id: str | None) -> bytes:
    """Render the problem object of RFC 9457 with Undercroft's `code` and `requestId` members."""
    members: dict[str, object] = {
        "type": error.type,
        "title": error.title or HTTPStatus(error.status).phrase,
        "status": error.status,
        "code": error.code,
    }
    if error.detail:
        members["detail"] = error.detail
    if instance is not None:
        members["instance"] = instance
    if request_id is not None:
        members["requestId"] = request_id
    return dumps({**error.extensions, **members})


def problem_response(error: ServiceError, *, instance: str | None, request_id: str | None) -> Response:
    """Build the whole answer: status, headers and problem body."""
    return Response(
        problem_body(error, instance=instance, request_id=request_id),
        status_code=error.status,
        headers=error.headers,
        media_type=PROBLEM_MEDIA_TYPE,
    )
