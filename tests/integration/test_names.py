"""Names that Celery and kombu allow: whatever shows one works, and every link to one leads to it."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from typing import Any, Final
from unittest import mock
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tasks_app.control import workers as control
from tasks_app.control.workers import CommandReply
from tasks_app.maintenance import samples
from tasks_app.models import QueuePause, QueueSample, Task
from tasks_app.recording.apply import apply
from tests.integration.conftest import ApiClient
from tests.names import NAMES
from zenith_site.common.names_in_urls import as_segment
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Notification
from zenith_site.notify.rules import Rule, rules
from zenith_site.notify.watch import Watch
from zenith_worker.wire import heartbeat, keys, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import key_of, new_id
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

#: Redis takes an empty name too; in a task's row it means that nobody knows the queue.
WITH_EMPTY: Final = ["", *NAMES]
#: A plain path with these names in it means something else, or does not arrive as it was sent (docs/api.md).
AMBIGUOUS: Final = {"", ".", "..", "~", "~2F", "a//b", "a/./b", "a/pause", "a/messages", "a/clear", "a/grow"}
_LINK: Final = re.compile(r'(?:href|action|hx-post)="([^"]+)"')
_BELOW: Final = ("/workers/", "/queues/", "/tasks/", "/dead-letters/")


@pytest.fixture(autouse=True)
def redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one, in which workers stay online for as long as their heartbeats are kept."""
    stream.client().flushdb()
    monkeypatch.setattr(heartbeat, "OFFLINE_AFTER", heartbeat.KEPT)


def beat(worker: str, *queues: str) -> None:
    heartbeat.write(worker, slots=4, busy=1, queues=queues)


def failed_tasks(*names: str) -> dict[str, str]:
    """By name: the id of a task of which worker, queue and name are called so, which failed and left a dead letter."""
    ids = {name: str(new_id()) for name in names}
    apply(
        [
            Event(
                task_id=id_, status=Status.FAILURE, at=time.time(), name=name, queue=name, worker=name, result="{}",
                error_type="OSError", error_message="no answer", traceback="", args=[], kwargs={},
            )
            for name, id_ in ids.items()
        ]
    )  # fmt: skip
    return ids


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return response.content.decode()


def links(page: str) -> set[str]:
    """Every address on a page that may have a name in it."""
    found = (unescape(link) for link in _LINK.findall(page))
    return {link for link in found if link.startswith(_BELOW)}


def in_path(name: str) -> str:
    """A name as a program writes it: percent-encoded, unless that is ambiguous."""
    return quote(as_segment(name) if name in AMBIGUOUS else name, safe="")


def post(client: Client, path: str, body: Any = None) -> Any:
    return client.post(path, data="" if body is None else json.dumps(body), content_type="application/json")


# --- Pages ---


def test_every_list_that_shows_names_answers_and_its_links_lead_on(person: Client) -> None:
    for name in WITH_EMPTY:
        beat(name, name)
    failed_tasks(*WITH_EMPTY)
    samples.take()
    pages = ["/", "/workers/", "/queues/", "/tasks/", "/dead-letters/", "/analytics/", "/events/"]
    found = set().union(*(links(text(person, page)) for page in pages))
    own = {reverse(url, args=[name]) for url in ("tasks:worker", "tasks:queue") for name in WITH_EMPTY}
    assert own <= found
    for link in sorted(found):
        # A button that asks nothing before takes POST only; it is enough that it leads somewhere.
        assert person.get(link).status_code in (200, 302, 405), link


def test_the_page_of_a_worker_or_a_queue_leads_on_whatever_its_name_is(person: Client) -> None:
    tasks = failed_tasks(*WITH_EMPTY)
    for name in ("", "team/billing@host", "mail\n", "..", "a/grow", "~2F", "🐇" * 255):
        beat(name, name)
        pages = [reverse("tasks:worker", args=[name]), reverse("tasks:queue", args=[name]), f"/tasks/{tasks[name]}/"]
        for link in sorted(set().union(*(links(text(person, page)) for page in pages))):
            assert person.get(link).status_code in (200, 405), link


def test_the_tasks_of_a_worker_and_of_a_queue_are_found_by_the_links_to_them(person: Client) -> None:
    tasks = failed_tasks("another", *NAMES)
    for name in NAMES:
        beat(name, name)
        for page in (reverse("tasks:worker", args=[name]), reverse("tasks:queue", args=[name])):
            (link,) = (link for link in links(text(person, page)) if link.startswith("/tasks/?q="))
            shown = text(person, link)
            assert tasks[name] in shown, link
            assert tasks["another"] not in shown, link


def test_a_queue_is_paused_resumed_and_purged_from_its_page(person: Client) -> None:
    for name in NAMES:
        beat("w@host", name)
        page = reverse("tasks:queue", args=[name])
        assert person.post(reverse("tasks:pause_queue", args=[name])).headers["Location"] == page
        assert QueuePause.objects.get().queue == name
        assert reverse("tasks:resume_queue", args=[name]) in links(text(person, page))
        assert person.post(reverse("tasks:resume_queue", args=[name])).status_code == 302
        assert not QueuePause.objects.exists()
        assert person.post(reverse("tasks:purge_queue", args=[name])).headers["Location"] == page


def test_a_worker_is_told_something_from_its_page(person: Client) -> None:
    told = []
    for name in WITH_EMPTY:
        beat(name, "default")
        with mock.patch.object(control, "_tell", lambda worker, *_, **__: told.append(worker.beat.name)):
            answer = person.post(reverse("tasks:tell_worker", args=[name, "drain"]))
        assert answer.headers["Location"] == reverse("tasks:worker", args=[name])
    assert told == WITH_EMPTY


def test_an_old_link_with_slashes_still_leads_there(person: Client) -> None:
    beat("w@host", "reports/eu")
    assert "reports/eu" in text(person, "/queues/of/reports/eu/")


# --- Programs ---


def test_a_program_reads_pauses_resumes_and_purges_a_queue(api: ApiClient) -> None:
    client = api("read", "operate")
    for name in NAMES:
        beat("w@host", name)
        path = f"/api/v1/queues/{in_path(name)}"
        assert client.get(path).json()["name"] == name
        assert client.get(f"{path}/messages").json() == {"waiting": [], "unacknowledged": []}
        assert client.get(f"{path}/history").status_code == 200
        assert post(client, f"{path}/pause").json()["pause"]["note"] == ""
        assert post(client, f"{path}/resume").json()["pause"] is None
        assert post(client, f"{path}/purge").json()["revoked"] == 0


def test_a_program_reads_and_controls_a_worker(api: ApiClient) -> None:
    client = api("read", "operate")
    for name in WITH_EMPTY:
        beat(name, "default")
        path = f"/api/v1/workers/{in_path(name)}"
        assert client.get(path).json()["name"] == name
        with mock.patch.object(control, "_tell", lambda worker, *_, **__: CommandReply(worker.beat.name, "ok", 0.0)):
            for verb in ("ping", "drain"):
                assert post(client, f"{path}/{verb}").json()["worker"] == name
            assert post(client, f"{path}/add-queue", {"queue": "q"}).json()["worker"] == name
        stream.client().pexpire(keys.WORKER + name, int((heartbeat.KEPT - 20) * 1000))
        assert client.delete(path).json()["cleared"] == [name]


def test_a_program_finds_a_task_whose_id_has_slashes(api: ApiClient) -> None:
    at = time.time()
    apply([Event(task_id=str(key_of("order/17")), text_id="order/17", status=Status.QUEUED, at=at, name="t", queue="default")])
    assert api("read").get("/task-status/order%2F17").status_code == 200
    assert api("read").get("/api/v1/tasks/order%2F17").json()["task_id"] == "order/17"


def test_the_lists_and_metrics_name_every_queue_and_worker(api: ApiClient) -> None:
    for name in WITH_EMPTY:
        beat(name, name)
    client = api("read")
    for path in ("/api/v1/queues", "/api/v1/workers"):
        assert set(WITH_EMPTY) <= {item["name"] for item in client.get(path).json()}
    assert 'zenith_queue_depth{queue="team/billing@host"}' in text(client, "/metrics")


# --- Engines ---


def test_what_people_are_told_of_a_name_leads_to_its_page(person: Client) -> None:
    minute = timezone.now().replace(second=0, microsecond=0)
    failed_tasks(*NAMES)
    for name in NAMES:
        beat(name, name)
        QueueSample.objects.create(minute=minute, queue=name, depth=5, unacknowledged=0, oldest_seconds=4000.0)
        stream.client().pexpire(keys.WORKER + name, int((heartbeat.KEPT - 40) * 1000))
    beat("alive@host", *NAMES)
    kinds = (NotificationKind.DEAD_LETTER, NotificationKind.WORKER_GONE, NotificationKind.QUEUE_AGE)
    Watch([Rule(rule.kind, rule.severity, rule.evaluate, for_=0.0) for rule in rules() if rule.kind in kinds]).evaluate()
    assert {found.kind for found in Notification.objects.all()} == set(kinds)
    for found in Notification.objects.all():
        assert person.get(found.link).status_code == 200, found.link
    assert text(person, "/notifications/")


def test_a_name_of_as_many_characters_as_amqp_allows_is_recorded_in_full() -> None:
    name = "🐇" * 255
    assert Task.objects.get(id=failed_tasks(name)[name]).queue == name
    beat("w@host", name)
    assert samples.take()
    assert QueueSample.objects.filter(queue=name).exists()


def test_a_name_that_postgresql_cannot_hold_does_not_keep_others_from_being_sampled(person: Client) -> None:
    beat("w@host", "y" * 256, "a\0b", "well")
    assert samples.take()
    assert QueueSample.objects.filter(queue="well").exists()
    assert text(person, "/queues/")
    assert text(person, reverse("tasks:queue", args=["y" * 256]))


@pytest.mark.parametrize("path", ["/workers/a%00b/", "/queues/of/a%00b/", "/nodes/hosts/a%00b/", "/api/v1/queues/a%00b"])
def test_what_nothing_can_be_called_is_404(admin: User, path: str) -> None:
    client = Client()
    client.force_login(admin)
    assert client.get(path).status_code == 404
