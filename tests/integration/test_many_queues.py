"""A queue for each customer: lists come in pages, and a page is as long as its rows, not as all queues."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.models import QueueSample
from tests.integration.conftest import ApiClient
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Notification
from zenith_site.notify.rules import Rule, rules
from zenith_site.notify.watch import Watch
from zenith_worker.wire import heartbeat, stream

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = [f"tenant-{number:03}" for number in range(119)]
_ROW = re.compile(r'<tr id="queue-([^"]+)"')


@pytest.fixture(autouse=True)
def tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `default`, 120 queues, two of which hold messages."""
    client = stream.client()
    client.flushdb()
    monkeypatch.setattr(heartbeat, "OFFLINE_AFTER", heartbeat.KEPT)
    heartbeat.write("w@host", slots=1, busy=0, queues=NAMES)
    client.lpush("tenant-100", "{}", "{}")
    client.lpush("tenant-050", "{}")


def rows(client: Client, query: str = "") -> list[str]:
    response = client.get(f"/queues/{query}")
    assert response.status_code == 200
    return _ROW.findall(response.content.decode())


def test_the_page_shows_fifty_the_longest_first_and_leads_on(person: Client) -> None:
    first, second, third = rows(person), rows(person, "?page=2"), rows(person, "?page=3")
    assert first[:3] == ["tenant-100", "tenant-050", "default"]
    assert [len(page) for page in (first, second, third)] == [50, 50, 20]
    assert sorted([*first, *second, *third]) == ["default", *NAMES]
    assert 'href="?page=2"' in person.get("/queues/").content.decode()
    assert 'href="?page=4"' not in person.get("/queues/?page=3").content.decode()


@pytest.mark.parametrize(
    ("query", "count"), [("?q=TENANT-10", 10), ("?q=nobody", 0), ("?page=9", 0), ("?page=x", 50), ("?q=%00", 0)]
)
def test_a_search_finds_names_and_a_strange_page_is_no_error(person: Client, query: str, count: int) -> None:
    assert len(rows(person, query)) == count


def test_a_search_is_kept_from_page_to_page(person: Client) -> None:
    assert 'href="?q=tenant&amp;page=2"' in person.get("/queues/?q=tenant").content.decode()


def test_the_file_has_all(person: Client) -> None:
    assert len(json.loads(person.get("/queues/?format=json").getvalue())) == 120


def test_a_program_goes_through_the_list_by_the_links(api: ApiClient) -> None:
    client, url, found = api("read"), "/api/v1/queues?limit=50", []
    while url:
        answer: Any = client.get(url)
        found.append([queue["name"] for queue in answer.json()])
        link = re.search(r"<http://testserver([^>]+)>", answer.headers.get("Link", ""))
        url = link[1] if link else ""
    assert [len(page) for page in found] == [50, 50, 20]
    assert [name for page in found for name in page] == ["default", *NAMES]
    assert len(client.get("/api/v1/queues?q=-10").json()) == 10
    assert client.get("/api/v1/queues?limit=0").status_code == 422
    assert client.get("/api/v1/queues?offset=3").status_code == 422


def test_people_are_told_of_twenty_and_of_how_many_more() -> None:
    minute = timezone.now().replace(second=0, microsecond=0)
    QueueSample.objects.bulk_create(
        QueueSample(minute=minute, queue=name, depth=1, unacknowledged=0, oldest_seconds=4000.0) for name in NAMES
    )
    rule = next(rule for rule in rules() if rule.kind == NotificationKind.QUEUE_AGE)
    Watch([Rule(rule.kind, rule.severity, rule.evaluate, for_=0.0)]).evaluate()
    assert Notification.objects.count() == 21
    assert Notification.objects.get(link="/queues/").title == "99 more queues are backing up"
