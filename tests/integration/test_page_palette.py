"""What the palette finds on the server."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from tasks_app import catalog
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Application, Task
from tasks_app.models.task_keys import forget_applications
from tasks_app.queries import find
from tests.integration.test_applications import task_of
from zenith_worker.wire import heartbeat

pytestmark = pytest.mark.django_db(transaction=True)


def found(client: Client, text: str) -> list[tuple[str, str, str]]:
    entries = client.get("/find/", {"q": text}).json()["found"]
    return [(entry["kind"], entry["name"], entry["url"]) for entry in entries]


def sent() -> UUID:
    return dispatch(Dispatch(task="analyze_text", data=["x"]), Origin(source="api")).ids[0]


def urls(client: Client, text: str, kind: str) -> list[str]:
    return [url for found_kind, _, url in found(client, text) if found_kind == kind]


@pytest.mark.parametrize("length", [8, 13, 36])
def test_a_task_is_found_by_its_id_or_the_beginning_of_it(person: Client, length: int) -> None:
    task_id = sent()
    assert urls(person, str(task_id)[:length], "task") == [f"/tasks/{task_id}/"]


def test_a_short_beginning_or_another_one_finds_no_task(person: Client) -> None:
    task_id = sent()
    assert urls(person, str(task_id)[:5], "task") == []
    assert urls(person, "ffffffff", "task") == []


def test_names_queues_and_workers_are_found_by_a_part(person: Client) -> None:
    heartbeat.write("w7@reports-host", slots=1, busy=0, queues=["reports"])
    assert ("name", "analyze_text", "/tasks/?q=name%3Aanalyze_text") in found(person, "LYZE")
    assert found(person, "report") == [
        ("queue", "reports", "/queues/of/reports/"),
        ("worker", "w7@reports-host", "/workers/w7@reports-host/"),
    ]


def test_names_that_only_tasks_tell_of_are_found(person: Client) -> None:
    task_id = sent()
    Task.objects.filter(id=task_id).update(name="nightly.billing", queue="ledgers")
    assert urls(person, "billing", "name") == ["/tasks/?q=name%3Anightly.billing"]
    assert urls(person, "ledger", "queue") == ["/tasks/?q=queue%3Aledgers"]


def test_applications_and_their_tasks_are_found(person: Client) -> None:
    shop = Application.objects.create(name="shop", kind="attached")
    forget_applications()
    task = task_of(shop, "order-4711")
    assert urls(person, "sho", "application") == ["/?application=shop"]
    assert urls(person, "order-4711", "task") == [f"/tasks/{task.id}/"]


def test_little_text_finds_nothing_and_much_is_no_error(person: Client) -> None:
    assert found(person, "a") == found(person, "") == []
    assert found(person, "\0\u202e" + "x" * 5000) == []


def test_there_are_a_few_of_each_kind(person: Client) -> None:
    for number in range(20):
        heartbeat.write(f"same-{number}@host", slots=1, busy=0, queues=[f"same-{number}"])
    kinds = [kind for kind, _, _ in found(person, "same")]
    assert kinds == ["queue"] * find.MOST + ["worker"] * find.MOST


def test_without_redis_the_rest_is_found(person: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    def away(_: object) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(find, "read_several", away)
    assert urls(person, "analyze", "name")


def test_it_takes_few_queries(person: Client, django_assert_max_num_queries: Any) -> None:
    task_id = sent()
    catalog.entries()
    for text in ("analyze", str(task_id), str(task_id)[:8]):
        with django_assert_max_num_queries(9):
            found(person, text)
