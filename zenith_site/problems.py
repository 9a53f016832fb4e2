"""Every error that a program gets: `application/problem+json` (RFC 9457), never a traceback.

1. Exceptions inside of the API are turned into problems by the handlers that `register` adds.
2. Whatever else goes wrong for a program (an unknown address, a method that a view does not
   take, a host that is not ours) reaches ProblemMiddleware as Django's HTML, and leaves as a problem.
3. People get pages. Who asks with `Accept: text/html`, or through htmx, is a person.
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

#: What it looks like when PostgreSQL or Redis is away, and not when a query or a command is wrong.
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
    """One thing that is wrong with the request: where, and why."""

    pointer: str | None = Field(default=None, description="JSON pointer (RFC 6901) into the body.")
    parameter: str | None = Field(default=None, description="Name of a parameter of the URL.")
    header: str | None = Field(default=None, description="Name of a header field.")
    detail: str


class Problem(BaseModel):
    """A problem as RFC 9457 describes it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Culprit] | None = None


class UnsupportedMediaTypeError(ZenithError):
    """The body is of a kind that the API does not read."""


class Answer(NamedTuple):
    """What to tell about an exception."""

    status: HTTPStatus
    detail: str
    errors: Iterable[Culprit] = ()
    headers: Mapping[str, str] = {}


TOO_SLOW: Final = Answer(HTTPStatus.REQUEST_TIMEOUT, "The request did not come to its end in time.")
TOO_LARGE: Final = Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is larger than the server reads.")


def register(api: NinjaAPI) -> None:
    """Make the API answer these exceptions with problems; others are bugs, and go on to Django."""
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
    """Return the problem for an HttpError, which is django-ninja's own.

    It wraps whatever reading the body raises in one of these; the cause says more.
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
    """Return these statuses as problems, for the part of an operation's description that django-ninja cannot know."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"responses": {status.value: {"description": status.phrase, "content": content} for status in statuses}}


def unavailable() -> Answer:
    """Return what to say when the database or the broker is away."""
    return Answer(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database or the broker does not answer. Tasks already accepted are safe.",
        headers={"Retry-After": str(RETRY_AFTER)},
    )


def is_for_program(request: HttpRequest) -> bool:
    """Whether the answer is read by a program: people's browsers ask for HTML by name."""
    if request.path_info.startswith("/api/"):
        return True
    if "HX-Request" in request.headers:
        return False
    return "text/html" not in request.headers.get("Accept", "")


class ProblemMiddleware(MiddlewareMixin):
    """Turns error pages into problems where a program asked. Stands outside of what makes them."""

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
        # CommonMiddleware has counted the page; a client would wait for the rest of it for ever.
        response["Content-Length"] = str(len(problem.content))
        return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer what no view caught (Django's handler500): a database that is away is no bug, nor is a form that cannot be read.

    Django reads the form of a request also to answer that there is nothing at its address.
    """
    if isinstance(sys.exception(), SuspiciousOperation):
        return HttpResponse(loader.get_template("400.html").render(), status=HTTPStatus.BAD_REQUEST)
    if not isinstance(sys.exception(), UNAVAILABLE):
        return defaults.server_error(request)
    page = loader.get_template("503.html").render()
    return HttpResponse(page, status=HTTPStatus.SERVICE_UNAVAILABLE, headers=dict(unavailable().headers))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer who may not (Django's handler403); the audit log hears why."""
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
    where = "parameter" if isinstance(error, InvalidQueryError) else "pointer"
    culprits = [
        Culprit.model_validate({where: problem.pointer, "detail": problem.detail}) for problem in error.problems[:MAX_NAMED]
    ]
    return _unprocessable(culprits)


def _unprocessable(culprits: list[Culprit]) -> Answer:
    return Answer(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The request cannot be accepted; `errors` says what is wrong with it. Nothing was changed.",
        culprits,
    )


def _misshapen(error: ValidationError) -> Answer:
    """Return what pydantic found, with where it stands in the request."""
    return _unprocessable([_culprit(item) for item in error.errors[:MAX_NAMED]])


def _culprit(found: Mapping[str, Any]) -> Culprit:
    source, *path = found["loc"]
    detail = found["msg"].removeprefix("Value error, ")
    if source == "body":
        # The first step is the name of the view's argument, which holds the whole body.
        pointer = "".join(f"/{escape(str(step))}" for step in path[1:])
        return Culprit(pointer=pointer, detail=detail)
    name = str(path[-1]) if path else ""
    return Culprit.model_validate({"header" if source == "header" else "parameter": name, "detail": detail})


def _on_purpose(error: ZenithError) -> Answer:
    """Return what an error says of itself. Raises it if it says nothing: no request should come to it."""
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
    HTTPStatus.BAD_REQUEST: "The request is malformed, or asks for a host that is not this one.",
    HTTPStatus.FORBIDDEN: "This may not be done with the session or token that was sent.",
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take the method; `Allow` says which.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The server failed, and wrote down why in its log.",
    HTTPStatus.SERVICE_UNAVAILABLE: unavailable().detail,
}
_ANSWERS: Final[dict[type[Exception], Any]] = {
    ValidationError: _misshapen,
    InvalidInputError: _invalid,
    RateLimitedError: _limited,
    Http404: lambda error: Answer(HTTPStatus.NOT_FOUND, str(error) or _DETAILS[HTTPStatus.NOT_FOUND]),
    PermissionDenied: lambda error: Answer(HTTPStatus.FORBIDDEN, str(error) or "Your account may not do this."),
    UnsupportedMediaTypeError: lambda _: Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _JSON_ONLY),
    # Somebody read a form from the body before: it was none of JSON.
    RawPostDataException: lambda _: Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _JSON_ONLY),
    RequestDataTooBig: lambda _: TOO_LARGE,
    UnreadablePostError: lambda _: Answer(HTTPStatus.BAD_REQUEST, "The body broke off."),
    # After its subclasses above, which say more.
    ZenithError: _on_purpose,
}
