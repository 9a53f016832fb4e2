"""The error responses for programs: `application/problem+json` (RFC 9457), never a traceback.

1. The handlers that `register` adds turn the API's exceptions into problems.
2. ProblemMiddleware turns Django's own HTML errors for programs (an unknown URL, a method that is not allowed, an invalid host)
   into problems.
3. People get pages. A request with `Accept: text/html`, or from htmx, is a person's.
"""

import sys
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import kombu.exceptions
import redis.exceptions
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    RawPostDataException,
    UnreadablePostError,
)
from django.http.response import HttpResponseBase
from django.template import loader
from django.utils.deprecation import MiddlewareMixin
from django.views import defaults
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from pydantic import BaseModel, Field

from zenith_site.common.callers import refuse
from zenith_site.common.errors import (
    RETRY_AFTER,
    BrokerUnavailableError,
    InvalidInputError,
    InvalidQueryError,
    RateLimitedError,
    ZenithError,
)
from zenith_site.common.jsonsafe import MAX_NAMED, escape
from zenith_site.common.limits import Quota

MEDIA_TYPE: Final = "application/problem+json"

#: The exceptions if PostgreSQL or Redis is unreachable, but not if a query or a command is wrong.
UNAVAILABLE: Final[tuple[type[Exception], ...]] = (
    OperationalError,
    InterfaceError,
    BrokerUnavailableError,
    kombu.exceptions.OperationalError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
)


class Culprit(BaseModel):
    """One problem with the request: where, and what."""

    pointer: str | None = Field(default=None, description="A JSON pointer (RFC 6901) into the body.")
    parameter: str | None = Field(default=None, description="The name of a URL parameter.")
    header: str | None = Field(default=None, description="The name of a header.")
    detail: str


class Problem(BaseModel):
    """A problem according to RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Culprit] | None = None


class UnsupportedMediaTypeError(ZenithError):
    """The API does not accept the body's media type."""


class Answer(NamedTuple):
    """The content of an error response."""

    status: HTTPStatus
    detail: str
    errors: Iterable[Culprit] = ()
    headers: Mapping[str, str] = {}


TOO_SLOW: Final = Answer(HTTPStatus.REQUEST_TIMEOUT, "The request was not completed in time.")
TOO_LARGE: Final = Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")


def register(api: NinjaAPI) -> None:
    """Make the API answer these exceptions with problems; others are bugs, which Django handles."""
    kinds: tuple[type[Exception], ...] = (*UNAVAILABLE, *_ANSWERS)
    for kind in kinds:
        api.add_exception_handler(kind, respond)
    api.add_exception_handler(HttpError, from_http_error)
    api.add_exception_handler(Exception, _raise)


def respond(request: HttpRequest, error: Any) -> HttpResponse:
    """Return the problem for an exception that has one."""
    if isinstance(error, UNAVAILABLE):
        return render(unavailable())
    answer = next(make(error) for kind, make in _ANSWERS.items() if isinstance(error, kind))
    refuse(request, answer.detail)
    return render(answer)


def from_http_error(request: HttpRequest, error: Any) -> HttpResponse:
    """Return the problem for django-ninja's own HttpError.

    django-ninja wraps every exception from reading the body in one; its cause says more.
    """
    if isinstance(error.__cause__, ZenithError):
        return respond(request, error.__cause__)
    status = HTTPStatus(error.status_code)
    if status == HTTPStatus.UNAUTHORIZED:
        detail = error.message if error.message != "Unauthorized" else _HOW_TO_AUTHENTICATE
        refuse(request, "Neither a token nor a session was sent.")
        return render(Answer(status, detail, headers={"WWW-Authenticate": 'Bearer realm="zenith"'}))
    refuse(request, error.message)
    return render(Answer(status, error.message))


def render(answer: Answer) -> HttpResponse:
    """Return the response."""
    return JsonResponse(_body(answer), status=answer.status, headers=answer.headers, content_type=MEDIA_TYPE)


def documented(*statuses: HTTPStatus) -> dict[str, Any]:
    """Return `openapi_extra` with these statuses as problems, which django-ninja cannot know."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"responses": {status.value: {"description": status.phrase, "content": content} for status in statuses}}


def unavailable() -> Answer:
    """Return the answer if the database or the broker is unreachable."""
    return Answer(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database or the broker does not answer. Tasks already accepted are safe.",
        headers={"Retry-After": str(RETRY_AFTER)},
    )


def is_for_program(request: HttpRequest) -> bool:
    """Whether the request is a program's: browsers ask for `text/html`."""
    if request.path_info.startswith("/api/"):
        return True
    if "HX-Request" in request.headers:
        return False
    return "text/html" not in request.headers.get("Accept", "")


class ProblemMiddleware(MiddlewareMixin):
    """Turns error pages into problems for programs. It is outside of everything that renders such pages."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Return the response; its header fields stay, such as `Allow` and `Retry-After`."""
        is_page = response.get("Content-Type", "text/html").startswith("text/html")
        if (
            response.status_code < HTTPStatus.BAD_REQUEST
            or not is_page
            or not isinstance(response, HttpResponse)
            or not is_for_program(request)
        ):
            return response
        status = HTTPStatus(response.status_code)
        problem = render(Answer(status, _DETAILS.get(status, f"{status.description}.")))
        response.content = problem.content
        response["Content-Type"] = MEDIA_TYPE
        # CommonMiddleware has set the page's length; a client would wait for the rest for ever.
        response["Content-Length"] = str(len(problem.content))
        return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an exception that no view caught (Django's handler500). An unreachable database or an unreadable form is no bug.

    Django reads a request's form even to answer that its URL does not exist.
    """
    if isinstance(sys.exception(), SuspiciousOperation):
        return HttpResponse(loader.get_template("400.html").render(), status=HTTPStatus.BAD_REQUEST)
    if not isinstance(sys.exception(), UNAVAILABLE):
        return defaults.server_error(request)
    page = loader.get_template("503.html").render()
    return HttpResponse(page, status=HTTPStatus.SERVICE_UNAVAILABLE, headers=dict(unavailable().headers))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer PermissionDenied (Django's handler403), and record the reason for the audit log."""
    refuse(request, str(exception))
    return defaults.permission_denied(request, exception)


def _body(answer: Answer) -> dict[str, Any]:
    problem = Problem(
        title=answer.status.phrase,
        status=answer.status.value,
        detail=answer.detail,
        errors=list(answer.errors) or None,
    )
    return problem.model_dump(exclude_none=True)


def _raise(request: HttpRequest, error: Any) -> HttpResponse:
    raise error


def _invalid(error: InvalidInputError) -> Answer:
    field = "parameter" if isinstance(error, InvalidQueryError) else "pointer"
    culprits = [
        Culprit.model_validate({field: problem.pointer, "detail": problem.detail}) for problem in error.problems[:MAX_NAMED]
    ]
    return _unprocessable(culprits)


def _unprocessable(culprits: list[Culprit]) -> Answer:
    return Answer(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The request is not valid; `errors` lists what is wrong. Nothing was changed.",
        culprits,
    )


def _misshapen(error: ValidationError) -> Answer:
    """Return pydantic's errors, with their places in the request."""
    return _unprocessable([_culprit(item) for item in error.errors[:MAX_NAMED]])


def _culprit(item: Mapping[str, Any]) -> Culprit:
    source, *path = item["loc"]
    detail = item["msg"].removeprefix("Value error, ")
    if source == "body":
        # The first step is the name of the view's parameter for the whole body.
        pointer = "".join(f"/{escape(str(step))}" for step in path[1:])
        return Culprit(pointer=pointer, detail=detail)
    name = str(path[-1]) if path else ""
    return Culprit.model_validate({"header" if source == "header" else "parameter": name, "detail": detail})


def _on_purpose(error: ZenithError) -> Answer:
    """Return the answer for one of Zenith's own errors. Raises it if it has no status: no request should cause it."""
    if error.status is None:
        raise error
    if error.header:
        return _unprocessable([Culprit(header=error.header, detail=error.detail)])
    return Answer(error.status, error.detail, headers={"Retry-After": str(error.retry_after)} if error.retry_after else {})


def _limited(error: RateLimitedError) -> Answer:
    quota = Quota(error.limit, error.window, remaining=0, reset_after=error.retry_after or 0, policy=error.policy)
    headers = {"Retry-After": str(error.retry_after), **quota.headers()}
    return Answer(HTTPStatus.TOO_MANY_REQUESTS, str(error), headers=headers)


_HOW_TO_AUTHENTICATE: Final = "Send a token as `X-API-Key: TOKEN` or `Authorization: Bearer TOKEN`, or log in."
_JSON_ONLY: Final = "Send the body as `Content-Type: application/json`."
_DETAILS: Final = {
    HTTPStatus.BAD_REQUEST: "The request is malformed, or its host is not allowed.",
    HTTPStatus.FORBIDDEN: "The session or token lacks the permission.",
    HTTPStatus.NOT_FOUND: "There is nothing at this URL.",
    HTTPStatus.METHOD_NOT_ALLOWED: "The method is not allowed here; the header `Allow` lists those that are.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The server failed. Its log has the reason.",
    HTTPStatus.SERVICE_UNAVAILABLE: unavailable().detail,
}
_ANSWERS: Final[dict[type[Exception], Any]] = {
    ValidationError: _misshapen,
    InvalidInputError: _invalid,
    RateLimitedError: _limited,
    Http404: lambda error: Answer(HTTPStatus.NOT_FOUND, str(error) or _DETAILS[HTTPStatus.NOT_FOUND]),
    PermissionDenied: lambda error: Answer(HTTPStatus.FORBIDDEN, str(error) or "Your account does not have the permission."),
    UnsupportedMediaTypeError: lambda _: Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _JSON_ONLY),
    # The body has been read as a form before, so it was not JSON.
    RawPostDataException: lambda _: Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _JSON_ONLY),
    RequestDataTooBig: lambda _: TOO_LARGE,
    UnreadablePostError: lambda _: Answer(HTTPStatus.BAD_REQUEST, "The body is incomplete."),
    # After its subclasses above, whose answers say more.
    ZenithError: _on_purpose,
}
