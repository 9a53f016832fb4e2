"""Lists as files: readable by programs, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from zenith_site.common.downloads import download, requested_format
from zenith_worker.wire.states import Status

COLUMNS = [("id", lambda row: row[0]), ("value", lambda row: row[1])]


def text(response: StreamingHttpResponse | HttpResponse) -> str:
    return b"".join(response.streaming_content).decode()  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("value", "in_json", "in_csv"),
    [
        (None, None, ""),
        (1.5, 1.5, "1.5"),
        (Status.SUCCESS, "SUCCESS", "SUCCESS"),
        (datetime(2030, 1, 31, 12, tzinfo=UTC), "2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        ({"a": [1]}, {"a": [1]}, '{"a": [1]}'),
        ('=HYPERLINK("x")', '=HYPERLINK("x")', '\'=HYPERLINK("x")'),
        ("@a", "@a", "'@a"),
        ('two\nlines, "quoted"', 'two\nlines, "quoted"', 'two\nlines, "quoted"'),
    ],
)
def test_values(value: Any, in_json: Any, in_csv: str) -> None:
    rows = [(UUID(int=1), value)]
    found = json.loads(text(download("json", "tasks", COLUMNS, rows)))
    assert found == [{"id": str(UUID(int=1)), "value": in_json}]
    lines = list(csv.reader(io.StringIO(text(download("csv", "tasks", COLUMNS, rows)), newline="")))
    assert lines == [["id", "value"], [str(UUID(int=1)), in_csv]]


def test_a_list_without_rows_is_a_file_all_the_same() -> None:
    assert json.loads(text(download("json", "tasks", COLUMNS, []))) == []
    assert text(download("csv", "tasks", COLUMNS, [])) == "id,value\r\n"


def test_the_browser_saves_it_under_its_name() -> None:
    response = download("csv", "tasks", COLUMNS, [])
    assert response["Content-Disposition"] == 'attachment; filename="tasks.csv"'


@pytest.mark.parametrize(
    ("query", "expected"), [("", None), ("?format=csv", "csv"), ("?format=json", "json"), ("?format=x", None)]
)
def test_the_format_stands_in_the_address(query: str, expected: str | None) -> None:
    assert requested_format(RequestFactory().get(f"/{query}")) == expected
