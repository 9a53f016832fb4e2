"""Errors: problem+json for programs, pages for people, a traceback for nobody."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.integration.conftest import ApiClient
from zenith_site.body_limit import BodyLimit

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


class Recorder:
    """An ASGI client that sends these chunks and keeps what comes back."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return {"type": "http.request", "body": self.chunks.pop(0), "more_body": bool(self.chunks)}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


async def reader(scope: Any, receive: Any, send: Any) -> None:
    """Reads its whole body before it answers, as Django does."""
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize(
    ("headers", "chunks", "status"),
    [
        ([], [b"x" * 10], 200),
        ([], [b"x" * 6, b"x" * 4], 200),
        ([], [b"x" * 6, b"x" * 5, b"x" * 1000], 413),
        ([(b"content-length", b"11")], [b""], 413),
        ([(b"content-length", b"9" * 30)], [b""], 413),
        ([(b"content-length", b"10")], [b"x" * 10], 200),
    ],
)
async def test_a_body_is_refused_before_it_is_stored(headers: Any, chunks: list[bytes], status: int) -> None:
    recorder = Recorder(*chunks)
    await BodyLimit(reader, 10)({"headers": headers}, recorder.receive, recorder.send)
    assert recorder.sent[0]["status"] == status
    if status == 413:
        assert (b"content-type", b"application/problem+json") in recorder.sent[0]["headers"]
        assert len(recorder.chunks) <= 1
