"""The JSON API: its authentication, and its description for people and programs; urls.py adds the routers."""

from http import HTTPStatus
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin
from ninja import NinjaAPI
from ninja.errors import ValidationError, ValidationErrorContext
from ninja.openapi.schema import OpenAPISchema
from ninja.parser import Parser

from zenith_site import problems
from zenith_site.auth.api import ANY_OF, require_caller
from zenith_site.common import jsonsafe
from zenith_site.quotas import EdgeLimit
from zenith_site.version import VERSION

_DESCRIPTION: Final = """
Send a token with each request, as `X-API-Key: TOKEN` or `Authorization: Bearer TOKEN`. A browser
session works too. Errors are `application/problem+json` (RFC 9457); `errors` lists each invalid
value and where it is.
"""
_ALWAYS: Final = (HTTPStatus.SERVICE_UNAVAILABLE,)
_WITH_AUTHENTICATION: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
_WITH_PATH: Final = (HTTPStatus.NOT_FOUND,)
_WITH_STATE: Final = (HTTPStatus.CONFLICT,)
_WITH_INPUT: Final = (HTTPStatus.UNPROCESSABLE_ENTITY,)
_WITH_BODY: Final = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
#: Errors in one request up to which each is described; jsonsafe.MAX_NAMED of them are returned.
_MAX_DESCRIBED: Final = 1000


class HeadMiddleware(MiddlewareMixin):
    """Answers HEAD wherever the API answers GET, as RFC 9110 (section 9.1) requires.

    django-ninja does not. The web server leaves out the body.
    """

    def process_view(self, request: HttpRequest, *view: Any) -> None:
        """Show the request to the API as a GET."""
        match = request.resolver_match
        if request.method == "HEAD" and match is not None and match.app_names == ["ninja"]:
            request.method = "GET"

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Restore the original method."""
        request.method = request.META["REQUEST_METHOD"]
        return response


class StrictParser(Parser):
    """Parses bodies with jsonsafe, and only if their content type is JSON."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Return the body's value.

        Raises UnsupportedMediaTypeError or InvalidJSONError; django-ninja wraps them in an
        HttpError, and problems.from_http_error finds them in it.
        """
        if request.content_type != "application/json":
            raise problems.UnsupportedMediaTypeError(request.content_type)
        return jsonsafe.parse(request.body)


class ZenithAPI(NinjaAPI):
    """django-ninja's API, with the error responses of every operation in its description."""

    def on_exception(self, request: HttpRequest, exc: Any) -> HttpResponse:
        """Return the response to an error; if EdgeLimit refused the request, to the error that says why."""
        return super().on_exception(request, getattr(request, "refusal", exc))

    def validation_error_from_error_contexts(self, error_contexts: list[ValidationErrorContext[Any]]) -> ValidationError:
        """Return one error that holds all problems of the input, or only their number.

        pydantic describes all of them or none, and describing a hundred thousand takes seconds.
        """
        count = sum(context.pydantic_validation_error.error_count() for context in error_contexts)
        if count <= _MAX_DESCRIBED:
            return super().validation_error_from_error_contexts(error_contexts)
        source = error_contexts[0].model.__ninja_param_source__
        return ValidationError([{"loc": (source,), "msg": f"{count} problems found, too many to list"}])

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        """Return the OpenAPI document."""
        schema = super().get_openapi_schema(**options)
        definition = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = schema["components"].setdefault("schemas", {})
        schemas.update(definition.pop("$defs"))
        schemas["Problem"] = definition
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                _move_examples(operation)
                _add_problems(operation, in_path="{" in path, changes=method != "get")
        return schema


def _move_examples(operation: dict[str, Any]) -> None:
    """Move a parameter's list of examples into its schema: OpenAPI takes a list only there."""
    for parameter in operation["parameters"]:
        if isinstance(parameter.get("examples"), list):
            parameter["schema"]["examples"] = parameter.pop("examples")


def _add_problems(operation: dict[str, Any], *, in_path: bool, changes: bool) -> None:
    statuses = [
        *(_WITH_PATH if in_path else ()),
        *(_WITH_STATE if changes else ()),
        *(_WITH_AUTHENTICATION if "security" in operation else ()),
        *(_WITH_INPUT if operation["parameters"] or "requestBody" in operation else ()),
        *(_WITH_BODY if "requestBody" in operation else ()),
        *_ALWAYS,
    ]
    for status, described in problems.documented(*statuses)["responses"].items():
        operation["responses"].setdefault(status, described)


api = ZenithAPI(
    title="Zenith",
    version=VERSION,
    description=_DESCRIPTION,
    urls_namespace="api",
    auth=ANY_OF,
    parser=StrictParser(),
    throttle=[EdgeLimit()],
    docs_decorator=require_caller,
)
problems.register(api)
