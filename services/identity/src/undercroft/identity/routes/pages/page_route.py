"""The route class of pages: what is refused is shown as a page, and form bodies are read strictly."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from typing_extensions import override

from undercroft.identity.errors.accounts import RecentSignInRequiredError
from undercroft.identity.errors.pages import FormExpiredError, FormMalformedError, SignInNeededError
from undercroft.identity.routes.pages.form_tokens import FORM_FIELD, is_own_form
from undercroft.identity.routes.pages.rendering import render, see_other
from undercroft.shared.errors import BadRequestError, InternalError, ServiceError
from undercroft.shared.logs import get_logger

_FORM_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
_LONGEST_FORM_BYTES: Final = 65_536
_MOST_FIELDS: Final = 100

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]  # FastAPI's own signature
Form: TypeAlias = dict[str, str]

_logger = get_logger(__name__)


class PageRoute(APIRoute):
    """Answers every refusal with a page of the same status; the address bar is no place for problem+json."""

    @override
    def get_route_handler(self) -> Handler:
        original = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await original(request)
            except SignInNeededError as error:
                return see_other(sign_in_path(error.onward, again=error.again))
            except RecentSignInRequiredError:
                return see_other(sign_in_path("/account", again=True))
            except ServiceError as error:
                return error_page(request, error)
            except RequestValidationError:
                return error_page(request, BadRequestError("This address is not complete."))
            except Exception as error:  # noqa: BLE001  people get a page, whatever broke
                crash = InternalError()
                crash.__cause__ = error
                return error_page(request, crash)

        return handler


def sign_in_path(onward: str, *, again: bool = False) -> str:
    """Return the path of the sign-in page that leads on to another; `again` asks even whoever is signed in."""
    query = {"continue": onward, **({"again": "1"} if again else {})}
    return f"/sign-in?{urlencode(query)}"


def error_page(request: Request, error: ServiceError) -> Response:
    """Show an error to a person; the server's own fault is logged once, with its cause."""
    if error.status >= InternalError.status:
        _logger.error("page failed", code=error.code, status=error.status, exc_info=error)
    request_id = request.scope.get("undercroft.request_id")
    response = render(request, "error", status=error.status, error=error, request_id=request_id)
    response.headers.update({name: value for name, value in error.headers.items() if name != "Cache-Control"})
    return response


async def posted_form(request: Request) -> Form:
    """Read a form that one of our pages sent.

    Raises `FormMalformedError` for another media type, repeated fields or wrong encoding, and `FormExpiredError`
    for a form that was not rendered for this browser.
    """
    form = await read_form(request)
    if not is_own_form(request, form.pop(FORM_FIELD, "")):
        raise FormExpiredError("This form is from an earlier visit. Go back, reload the page and try again.")
    return form


async def read_form(request: Request) -> Form:
    """Read a urlencoded body in which no field is repeated; raises `FormMalformedError`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if media_type != _FORM_MEDIA_TYPE or len(body) > _LONGEST_FORM_BYTES:
        raise FormMalformedError("A form is needed here.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise FormMalformedError("The form cannot be read.") from None
    form = dict(pairs)
    if len(form) != len(pairs) or any("\x00" in value for value in form.values()):
        raise FormMalformedError("The form cannot be read.")
    return form


PostedForm = Annotated[Form, Depends(posted_form)]
