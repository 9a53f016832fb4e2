"""Additions to the OpenAPI description: the error responses of some operations, and header fields."""

from http import HTTPStatus
from typing import Any

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def problem_responses(*statuses: HTTPStatus) -> dict[str, Any]:
    """Return `openapi_extra` with these error responses; those that every operation may return are added for all."""
    return {"responses": {status.value: {"description": status.phrase, "content": _PROBLEM} for status in statuses}}


def link_header() -> dict[str, Any]:
    """Return `openapi_extra` for a paginated list with a `Link` header."""
    link = {"description": 'The next page: `<…>; rel="next"` (RFC 8288).', "schema": {"type": "string"}}
    return {"responses": {HTTPStatus.OK.value: {"headers": {"Link": link}}}}
