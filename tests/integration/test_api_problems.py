"""Errors: problem+json for programs, pages for people, a traceback for nobody."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.integration.conftest import ApiClient

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    ("headers", "path", "kind"),
    [
        ({}, "/no/such", "application/problem+json"),
        ({"Accept": "*/*"}, "/no/such", "application/problem+json"),
        ({"Accept": "application/json"}, "/no/such", "application/problem+json"),
        (HTML, "/no/such", "text/html; charset=utf-8"),
        (HTML, "/api/no/such", "application/problem+json"),
        ({"HX-Request": "true", "Accept": "*/*"}, "/no/such", "text/html; charset=utf-8"),
    ],
)
def test_programs_get_problems_and_people_pages(db: None, headers: dict[str, str], path: str, kind: str) -> None:
    response = Client().get(path, headers=headers)
    assert (response.status_code, response.headers["Content-Type"]) == (404, kind)
    assert int(response.headers["Content-Length"]) == len(response.content)


def test_a_host_that_is_not_ours_is_a_problem_too(db: None) -> None:
    response = Client().get("/tasks/all", headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_bug_is_500_without_a_traceback(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(task_id: str) -> None:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr("tasks_app.queries.tasks.find", fail)
    client = api("read")
    client.raise_request_exception = False
    response = client.get("/task-status/x")
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert b"secret" not in response.content


def test_people_get_a_503_page_when_the_database_is_away(database_away: None) -> None:
    client = Client(headers=HTML, raise_request_exception=False)
    client.cookies["sessionid"] = "x" * 32
    response = client.get("/")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert b"Not available right now" in response.content


def test_programs_get_a_problem_when_the_database_is_away(database_away: None) -> None:
    client = Client(headers={"X-API-Key": "zen_any"}, raise_request_exception=False)
    for path in ("/tasks/all", "/openapi.json"):
        response = client.get(path)
        assert response.status_code == 503
        assert response.headers["Content-Type"] == "application/problem+json"
        assert int(response.headers["Retry-After"]) > 0
