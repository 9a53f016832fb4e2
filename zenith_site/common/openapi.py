"""What the OpenAPI description says beyond types: problems that only some operations answer, and header fields."""

from http import HTTPStatus
from typing import Any

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def problem_responses(*statuses: HTTPStatus) -> dict[str, Any]:
    """Return `openapi_extra` that names these problems; those that every operation may answer are named for all."""
    return {"responses": {status.value: {"description": status.phrase, "content": _PROBLEM} for status in statuses}}


def link_header() -> dict[str, Any]:
    """Return `openapi_extra` for a list that goes on where its field `Link` leads."""
    link = {"description": 'Where the list goes on: `<…>; rel="next"` (RFC 8288).', "schema": {"type": "string"}}
    return {"responses": {HTTPStatus.OK.value: {"headers": {"Link": link}}}}
