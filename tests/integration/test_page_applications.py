"""One application's pages: the choice in the sidebar, its own overview, its workers and its queues."""

from __future__ import annotations

import json
import time
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.models import Application, Task
from tasks_app.queries import attached_queues, status_counts
from tasks_app.queries.applications import status_counts_in
from tasks_app.queries.attached_queues import queues_of
from tasks_app.queries.workers import all_workers
from tasks_app.recording.apply import apply
from tests.integration.conftest import ApiClient
from tests.integration.test_api_tasks import make
from tests.integration.test_applications import Shop, attach, beat, emptied_redis, shop, task_of, text
from zenith_worker.wire import heartbeat
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import application_keys
from zenith_worker.wire.states import Status

__all__ = ["emptied_redis", "shop"]
pytestmark = pytest.mark.django_db

#: The pages that one application can have alone, and where they lead to if one is chosen.
NARROWED = {
    "/tasks/": "/tasks/?application=shop",
    "/dead-letters/": "/dead-letters/?application=shop",
    "/events/": "/events/?application=shop",
    "/analytics/": "/analytics/?application=shop",
    "/workers/": "/workers/?application=shop",
    "/queues/": "/queues/?application=shop",
    "/dispatch/": "/dispatch/?application=shop",
    "/": "/?application=shop",
}


def choose(client: Client, name: str, **more: Any) -> Any:
    return client.post("/choose-application/", {"application": name, **more.pop("data", {})}, **more)


# --- The choice in the sidebar ---


def test_with_zenith_alone_there_is_no_choice(person: Client) -> None:
    assert "application-switch" not in text(person, "/tasks/")
    assert choose(person, "shop").status_code == 404
    assert text(person, "/tasks/")


@pytest.mark.parametrize(("path", "narrowed"), NARROWED.items())
def test_the_chosen_application_is_the_default_of_a_page(
    person: Client, django_user_model: Any, shop: Shop, path: str, narrowed: str
) -> None:
    django_user_model.objects.filter(pk=person.session["_auth_user_id"]).update(is_superuser=True)
    assert person.get(path).status_code == 200
    answer = choose(person, "shop", data={"next": path})
    assert (answer.status_code, answer["Location"]) == (302, path)
    led = person.get(path)
    assert (led.status_code, led["Location"]) == (302, narrowed)
    page = text(person, narrowed)
    assert '<span class="cut">shop</span>' in page
    # An address that says what to show, shows that.
    assert person.get(f"{path}?application=").status_code == 200
    assert person.get(f"{path}?q=name:x").status_code == 200
    # An open page goes on showing what it shows; one that htmx leads elsewhere does not.
    assert person.get(path, headers={"HX-Request": "true"}).status_code == 200
    assert person.get(path, headers={"HX-Request": "true", "HX-Boosted": "true"}).status_code == 302
    choose(person, "")
    assert person.get(path).status_code == 200


def test_the_choice_leads_to_the_same_page_and_stays_with_the_session(person: Client, shop: Shop) -> None:
    for path, leads_to in (
        ("/tasks/?status=FAILURE&application=shop-2", "/tasks/"),
        ("/applications/shop-2/", "/"),
        (f"/tasks/{shop.paid.id}/", f"/tasks/{shop.paid.id}/"),
        ("/settings/", "/settings/"),
    ):
        assert f'<input type="hidden" name="next" value="{leads_to}">' in text(person, path)
    scripted = choose(person, "shop", data={"next": "/tasks/"}, headers={"HX-Request": "true"})
    assert (scripted.status_code, scripted["HX-Redirect"]) == (200, "/tasks/")
    assert choose(person, "shop", data={"next": "https://evil.example/"})["Location"] == "/"
    # The search in the header keeps to it.
    assert '<input type="hidden" name="application" value="shop">' in text(person, "/settings/")


def test_nobody_is_sent_to_an_application_that_is_gone(person: Client, shop: Shop) -> None:
    assert choose(person, "nothing").status_code == 404
    assert person.get("/choose-application/").status_code == 405
    attach("gone")
    choose(person, "gone")
    Application.objects.filter(name="gone").delete()
    assert person.get("/").status_code == 200
    assert '<span class="cut">All applications</span>' in text(person, "/tasks/")


def test_a_choice_needs_the_token_against_forgery(person: Client, shop: Shop) -> None:
    strict = Client(enforce_csrf_checks=True, headers={"Accept": "text/html"})
    strict.cookies = person.cookies
    assert choose(strict, "shop").status_code == 403


def test_the_api_knows_nothing_of_the_choice(person: Client, api: ApiClient, shop: Shop) -> None:
    choose(person, "shop")
    assert len(api("read").get("/api/v1/tasks").json()) == 5
    assert [item["application"] for item in api("read").get("/api/v1/workers").json()] == []


# --- The task list of one application ---


def test_the_tabs_count_the_tasks_of_one_application(person: Client, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status_counts_in("shop") == {**dict.fromkeys(Status, 0), Status.QUEUED: 1, Status.SUCCESS: 1, Status.FAILURE: 1}
    assert status_counts_in("zenith") == {**dict.fromkeys(Status, 0), Status.SUCCESS: 1}
    assert status_counts_in("")[Status.SUCCESS] == 3
    assert set(status_counts_in("nothing").values()) == {0}
    page = text(person, "/tasks/?application=shop-2")
    assert '<option value="shop-2" selected>' in page
    assert "status=FAILURE" not in page
    # Of statuses that have too many tasks, Zenith's own are not counted.
    monkeypatch.setattr(status_counts, "COUNTED_TO", 2)
    assert status_counts_in("zenith")[Status.SUCCESS] is None
    assert "status=SUCCESS" in text(person, "/tasks/?application=zenith")


def test_all_that_match_are_those_of_the_lists_application(client: Client, admin: Any, shop: Shop) -> None:
    client.force_login(admin)
    own = make(status=Status.QUEUED)
    page = text(client, "/tasks/?application=shop&status=QUEUED")
    assert page.count('<input type="hidden" name="application" value="shop">') >= 1
    asked = text(client, "/tasks/act/cancel/?all=1&q=&status=QUEUED&application=shop")
    assert "Cancel 1 task" in asked
    assert '<input type="hidden" name="application" value="shop">' in asked
    client.post("/tasks/act/cancel/", {"all": "1", "q": "", "status": "QUEUED", "application": "shop"})
    own.refresh_from_db()
    shop.waiting.refresh_from_db()
    assert own.cancel_requested_at is None
    assert shop.waiting.cancel_requested_at is not None or shop.waiting.status == Status.REVOKED


def test_the_command_lists_one_applications_tasks(shop: Shop) -> None:
    out = StringIO()
    call_command("tasks", "--application", "shop-2", "--json", stdout=out)
    assert [item["task_id"] for item in json.loads(out.getvalue())] == ["pay-1"]


# --- Workers ---


def test_the_page_of_workers_has_those_of_all_applications(person: Client, shop: Shop) -> None:
    running = task_of(shop.application, "run", worker="celery@host", status=Status.STARTED)
    own = make(worker="celery@host", status=Status.STARTED)
    beat("celery@host")
    assert '<th scope="col">Application</th>' in text(person, "/workers/")
    for name in ("shop", "shop-2"):
        beat("celery@host", name)
    page = text(person, "/workers/")
    for link in ("/workers/celery@host/", "/workers/celery@host/?application=shop", "/workers/celery@host/?application=shop-2"):
        assert f'href="{link}"' in page
    tasks_of = {view.application: [task.id for task in view.tasks] for view in all_workers()}
    assert tasks_of == {"zenith": [own.id], "shop": [running.id], "shop-2": []}
    narrowed = text(person, "/workers/?application=shop")
    assert 'href="/workers/celery@host/"' not in narrowed
    assert '<option value="shop" selected>' in narrowed
    assert "No worker of this application reports" in text(person, "/workers/?application=nothing")
    assert person.get("/workers/?application=shop&format=json").streaming


def test_without_another_application_the_page_of_workers_is_as_it_was(person: Client) -> None:
    beat("celery@host")
    page = text(person, "/workers/")
    assert '<th scope="col">Application</th>' not in page
    assert 'id="worker-celery@host"' in page


def test_a_worker_that_does_not_tell_whether_it_obeys_has_no_controls(client: Client, admin: Any, shop: Shop) -> None:
    client.force_login(admin)
    beat("celery@host")
    beat("celery@host", "shop", about=heartbeat.About(pool="threads", catalogue="0" * 64))
    assert "/workers/celery@host/shut-down/" in text(client, "/workers/celery@host/")
    page = text(client, "/workers/celery@host/?application=shop")
    assert "/workers/celery@host/shut-down/" not in page
    assert "its zenith_worker is older than that" in page
    assert "threads" in page
    assert "/tasks/?q=worker%3Acelery%40host&amp;application=shop" in page
    assert client.get("/workers/celery@host/?application=shop-2").status_code == 404
    # Its name alone names Zenith's own.
    heartbeat.forget("celery@host")
    assert client.get("/workers/celery@host/").status_code == 404
    assert client.post("/workers/celery@host/shut-down/").status_code == 404


def test_the_api_has_zeniths_own_workers_unless_asked(api: ApiClient, shop: Shop) -> None:
    client = api("read")
    beat("celery@host")
    beat("celery@host", "shop", slots=7)
    assert [(item["application"], item["slots"]) for item in client.get("/api/v1/workers").json()] == [("zenith", 4)]
    assert [(item["application"], item["slots"]) for item in client.get("/api/v1/workers?application=shop").json()] == [
        ("shop", 7)
    ]
    assert client.get("/api/v1/workers/celery@host").json()["slots"] == 4
    assert client.get("/api/v1/workers/celery@host?application=shop").json()["slots"] == 7
    assert client.get("/api/v1/workers/celery@host?application=shop-2").status_code == 404
    assert client.get("/api/v1/workers?application=nothing").status_code == 404
    assert client.get("/api/v1/workers?aplication=shop").status_code == 422


def test_an_application_that_breaks_its_keys_hides_no_other_worker(person: Client, shop: Shop) -> None:
    beat("celery@own")
    beat("celery@till-2", "shop-2")
    redis_client().set(application_keys("shop").workers, "something else")
    assert [view.beat.name for view in all_workers()] == ["celery@own", "celery@till-2"]
    for path in ("/workers/", "/workers/?application=shop", "/applications/", "/applications/shop/", "/queues/?application=shop"):
        assert person.get(path).status_code == 200


def test_an_application_with_a_flood_of_workers_is_read_in_part(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "READ_AT_MOST", 5)
    for number in range(9):
        beat(f"celery@{number}", "shop")
        beat(f"celery@{number}")
    assert len(heartbeat.read_all("shop")) == 5
    assert len(heartbeat.read_all()) == 9


# --- Queues ---


def test_of_an_attached_applications_queues_only_what_is_known_is_shown(person: Client, shop: Shop) -> None:
    beat("celery@till-1", "shop", queues=["tills", "<b>odd</b>"])
    beat("celery@own", queues=["own"])
    task_of(shop.application, "run", queue="reports", status=Status.STARTED)
    page = text(person, "/queues/?application=shop")
    assert "Zenith does not see the broker of shop" in page
    assert "/queues/of/tills/?application=shop" in page
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    assert 'href="/queues/purge/tills/?application=shop"' in page
    assert ">own</a>" not in page
    assert text(person, "/queues/?application=shop&q=tills").count('id="queue-') == 3  # two fields and one row
    assert '<option value="zenith" selected>' in text(person, "/queues/")
    assert person.get("/queues/?application=nothing").status_code == 404
    queues = {queue.name: queue for queue in queues_of(shop.application).queues}
    assert (queues["tills"].consumers, queues["tills"].slots, queues["tills"].by_status) == (
        ["celery@till-1"], 4, {Status.QUEUED: 1},
    )  # fmt: skip
    assert (queues["reports"].consumers, queues["reports"].by_status) == ([], {Status.STARTED: 1})


def test_an_application_with_very_many_queues_shows_some(person: Client, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("MOST", 2), ("READ_AT_MOST", 3)):
        monkeypatch.setattr(attached_queues, name, most)
    for number in range(5):
        task_of(shop.application, f"many-{number}", queue=f"queue-{number}")
    found = queues_of(shop.application)
    assert (len(found.queues), found.is_capped) == (2, True)
    page = text(person, "/queues/?application=shop")
    assert "Only the 2 longest queues are listed" in page
    assert "Of each status, at most" in page


def test_an_applications_queues_are_read_along_its_own_index(shop: Shop) -> None:
    # So many of Zenith's own that their index would be the longer way.
    own = {"queue": "default", "source": "api", "created_at": timezone.now(), "finished_at": timezone.now()}
    Task.objects.bulk_create(Task(name="t", status=status, **own) for status in Status for _ in range(100))
    with CaptureQueriesContext(connection) as queries:
        queues_of(shop.application)
    [read] = [query["sql"] for query in queries if "LATERAL" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_app_task")
        cursor.execute("SET LOCAL enable_seqscan = off")  # a table of a few rows is read whole otherwise
        cursor.execute(f"EXPLAIN {read}")
        assert "task_application_newest" in " ".join(row[0] for row in cursor.fetchall())


# --- An application's own overview ---


def test_an_applications_page_is_its_overview(person: Client, django_assert_max_num_queries: Any) -> None:
    application = attach("shop")
    attach("shop-2")
    now = time.time()
    for name, status in (("a", Status.SUCCESS), ("b", Status.SUCCESS), ("c", Status.FAILURE)):
        event = Event(
            task_id=name, application="shop", status=status, at=now, name="shop.pay", queue="tills", started_at=now - 1,
            runtime=1.0, result="1", error_type="TillError" if status == Status.FAILURE else "",
        )  # fmt: skip
        apply([event], {"shop": application.pk})
    task_of(application, "run", status=Status.STARTED)
    beat("celery@till-1", "shop")
    with django_assert_max_num_queries(20):
        page = text(person, "/applications/shop/")
    assert "q=status:STARTED+application:shop" in page
    assert 'href="/dead-letters/?application=shop"' in page
    assert "TillError" in page
    assert "in shop.pay</span>" in page  # of its own application, which need not be named
    assert "over the last hour" in page  # its first figures are of just now
    assert "66.6 %" in page or "66.7 %" in page
    assert "celery@till-1" in page
    assert "TillError" not in text(person, "/applications/shop-2/")
    assert "over the last 24 hours" in text(person, "/applications/shop/?window=24h")


def test_zeniths_own_has_an_overview_like_others(person: Client, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    make(status=Status.STARTED)
    page = text(person, "/applications/zenith/")
    assert '<b title="1">1</b>' in page
    monkeypatch.setattr(status_counts, "COUNTED_TO", 1)
    assert "Too many to count" in text(person, "/applications/zenith/")
    assert Task.objects.filter(status=Status.STARTED).count() == 1
