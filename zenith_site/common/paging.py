"""What the API's lists share: refusing unknown parameters, and linking to the next page."""

from typing import Protocol

from django.http import HttpRequest, HttpResponse
from pydantic import BaseModel

from zenith_site.common.errors import InvalidQueryError, Problem


class _Filter(Protocol):
    def query_string(self) -> str: ...


def refuse_unknown(request: HttpRequest, filter_class: type[BaseModel]) -> None:
    """Refuse unknown parameters, so that a mistyped filter is not silently ignored. Raises InvalidQueryError."""
    names = ", ".join(filter_class.model_fields) or "none"
    unknown = request.GET.keys() - filter_class.model_fields.keys()
    if unknown:
        raise InvalidQueryError(*(Problem(name, f"unknown parameter; the known ones are: {names}") for name in sorted(unknown)))


def link_next(request: HttpRequest, response: HttpResponse, following: _Filter | None) -> None:
    """Set the header `Link` (RFC 8288) to the next page, if there is one."""
    if following is not None:
        address = request.build_absolute_uri(f"{request.path}?{following.query_string()}")
        response["Link"] = f'<{address}>; rel="next"'
