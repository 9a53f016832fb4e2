"""Whatever a task returned: its page, every list with it and every download answer, and hold everybody else's tasks as before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_celery_results.models import TaskResult

from tasks_app.models import Task
from zenith_worker.wire.states import Status, position

pytestmark = pytest.mark.django_db


def nested(levels: int, opening: str, closing: str) -> str:
    return opening * levels + "1" + closing * levels


ODD = {
    "lists 500 levels deep": nested(500, "[", "]"),
    "objects 900 levels deep": nested(900, '{"a":', "}"),
    "lists deeper than any parser goes": nested(50_000, "[", "]"),
    "half of a character": '"caf\\udce9.txt"',
    "half of a character as a name": '{"\\ud800": 1}',
    "NUL": '"a\\u0000b"',
    "not a number": "[NaN, Infinity, -Infinity]",
    "a very long number": "1" + "0" * 4000,
    "no JSON": "{'a': b'1'}",
    "nothing": "",
}
PATHS = (
    "/", "/tasks/", "/tasks/?format=csv", "/tasks/?format=json", "/tasks/?status=SUCCESS", "/tasks/{id}/", "/task-status/{id}",
    "/tasks/all", "/api/v1/tasks", "/api/v1/tasks/{id}", "/events/", "/analytics/",
)  # fmt: skip


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ann", password="a long enough one"))
    return client


def ended(result: str) -> UUID:
    now, id_ = datetime.now(UTC), uuid4()
    Task.objects.create(
        id=id_, name="t", queue="default", source="external", status=Status.SUCCESS, args=[], kwargs={},
        position=position(0, 0, Status.SUCCESS), created_at=now, queued_at=now, started_at=now, finished_at=now,
    )  # fmt: skip
    TaskResult.objects.create(
        task_id=str(id_), status="SUCCESS", result=result, content_type="application/json", content_encoding="utf-8"
    )
    return id_


@pytest.mark.parametrize("odd", ODD)
def test_it_is_shown_and_so_are_the_others(odd: str, client: Client) -> None:
    id_, other = ended(ODD[odd]), ended('"of somebody else"')
    for path in PATHS:
        answer = client.get(path.format(id=id_))
        assert answer.status_code == 200, path
        body: Any = b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]
        if "{id}" not in path and "tasks" in path:
            assert str(other) in body.decode(), path
        if answer["Content-Type"].startswith("application/json"):
            json.loads(body)
