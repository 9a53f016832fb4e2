"""Lists as files: `?format=csv` or `?format=json` on the list's own URL, with the same filters.

A view calls `requested_format(request)` first, and answers with `download` if it returns a format.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeVar
from uuid import UUID

from django.http import HttpRequest, StreamingHttpResponse

from zenith_site.common.jsonsafe import bounded

Row = TypeVar("Row")
#: Characters of a text in one streamed chunk.
_PART: Final = 2**16

FORMATS: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
#: Rows of one file at most; a longer list continues at the `cursor` of its last page.
MOST: Final = 10_000


def requested_format(request: HttpRequest) -> str | None:
    """Return the request's `format` if it is one of FORMATS."""
    name = request.GET.get("format", "")
    return name if name in FORMATS else None


def download(
    kind: str, name: str, columns: Sequence[tuple[str, Callable[[Row], Any]]], rows: Iterable[Row]
) -> StreamingHttpResponse:
    """Return rows as a file, streamed.

    Args:
        kind: a key of FORMATS.
        name: the file's name, without its extension.
        columns: each column's name, and a function that returns its value for a row; in JSON they are an object's members.
        rows: what to write; the caller bounds it to MOST.
    """
    records = ([_plain(value(row)) for _, value in columns] for row in rows)
    names = [column for column, _ in columns]
    parts = _csv(names, records) if kind == "csv" else _json(names, records)
    response = StreamingHttpResponse(parts, content_type=FORMATS[kind])
    response["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    return response


def text_file(name: str, kind: str, text: str) -> StreamingHttpResponse:
    """Return a text as a file, streamed; `kind` is its extension, a key of FORMATS or `txt`."""
    parts = (text[start : start + _PART] for start in range(0, len(text), _PART))
    response = StreamingHttpResponse(parts, content_type=FORMATS.get(kind, "text/plain; charset=utf-8"))
    response["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    return response


class _Echo:
    """A file whose `write` returns the text, so that csv's writer can stream."""

    def write(self, text: str) -> str:
        return text


def _csv(names: list[str], records: Iterable[list[Any]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(names)
    for record in records:
        yield writer.writerow([_cell(value) for value in record])


def _json(names: list[str], records: Iterable[list[Any]]) -> Iterator[str]:
    opening = "["
    for record in records:
        yield opening + "\n" + json.dumps(dict(zip(names, record, strict=True)))
        opening = ","
    yield "[]\n" if opening == "[" else "\n]\n"


def _plain(value: Any) -> Any:
    """Return a value as JSON types."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    return bounded(value)


def _cell(value: Any) -> Any:
    """Return a value for a spreadsheet, which would run text that begins like a formula (OWASP, CSV injection)."""
    if isinstance(value, list | dict):
        value = json.dumps(value)
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return "" if value is None else value
