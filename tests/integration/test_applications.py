"""Other people's applications, as people and programs see them: pages, API, search, command and admin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks_app.models import Application, Task
from tasks_app.models.application import NATIVE_ID, Kind
from tasks_app.models.places import Place
from tasks_app.queries import applications
from tasks_app.queries.attached_explanation import explain_attached
from tasks_app.queries.detail import detail
from tasks_app.queries.tasks import TaskFilter, open_among
from tasks_app.queries.workers import workers, workers_of
from tasks_app.search import index_scan, planner
from tests.integration.conftest import ApiClient
from tests.integration.test_api_tasks import make
from tests.integration.test_search import found
from zenith_site.common.previews import SHOWN
from zenith_worker.wire import heartbeat
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import application_keys
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"
API = "/api/v1/applications"


@pytest.fixture(autouse=True)
def emptied_redis() -> Iterator[None]:
    """No worker of another test's."""
    redis_client().flushdb()
    yield
    redis_client().flushdb()


def attach(name: str, **more: Any) -> Application:
    """An application, attached as the engine does it, beside Zenith's own."""
    Application.objects.get_or_create(id=NATIVE_ID, defaults={"name": "zenith", "kind": Kind.NATIVE})
    now = timezone.now()
    values = {"kind": Kind.ATTACHED, "main": name, "celery_version": "5.5.3", "python_version": "3.12.1"}
    application, _ = Application.objects.get_or_create(
        name=name, defaults={**values, "first_heard_at": now, "last_heard_at": now, **more}
    )
    return application


def task_of(application: Application, celery_id: str, **more: Any) -> Task:
    """A task as the recorder stores those of other applications."""
    key = key_of(celery_id, application.key_name)
    return make(**{"id": key, "text_id": celery_id, "application": application, "source": "external", "name": "shop.pay", **more})


def ended(**more: Any) -> dict[str, Any]:
    now = timezone.now()
    return {"status": Status.SUCCESS, "started_at": now, "finished_at": now, "created_at": now, **more}


@dataclass
class Shop:
    """An attached application with three tasks, another with one, and a task of Zenith's own."""

    application: Application
    waiting: Task
    paid: Task
    failed: Task
    other: Task
    own: Task


@pytest.fixture
def shop() -> Shop:
    application, other = attach("shop"), attach("shop-2")
    return Shop(
        application,
        task_of(application, "pay-1", queue="tills"),
        task_of(application, "pay-2", worker="celery@host", **ended()),
        task_of(application, "pay-3", error_type="ValueError", error_message="no", **ended(status=Status.FAILURE)),
        task_of(other, "pay-1", worker="celery@host", **ended()),
        make(name="shop.pay", worker="celery@host", **ended()),
    )


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, response.content
    return response.content.decode()


# --- Search ---

FINDS = [
    ("application:shop", {"waiting", "paid", "failed"}),
    ("application:shop*", {"waiting", "paid", "failed", "other"}),
    ("application:shop application:shop-2", {"waiting", "paid", "failed", "other"}),
    ("application:shop* -application:shop", {"other"}),
    ("-application:shop", {"other", "own"}),
    ("-application:zenith", {"waiting", "paid", "failed", "other"}),
    ("application:zenith", {"own"}),
    ("application:zenith application:shop-2", {"own", "other"}),
    ("application:nothing", set()),
    ("application:SHOP", set()),
    ("application:shop status:SUCCESS", {"paid"}),
    ("application:shop -status:SUCCESS", {"waiting", "failed"}),
    ("application:shop name:shop.*", {"waiting", "paid", "failed"}),
    ("application:shop queue:tills", {"waiting"}),
    ("application:shop worker:celery", {"paid"}),
    ("application:shop error:value", {"failed"}),
    ("application:shop args.0:text", {"waiting", "paid", "failed"}),
    ("application:shop celery@host", {"paid"}),
    ("application:shop until:1m", set()),
]


@pytest.mark.parametrize(("q", "expected"), FINDS)
@pytest.mark.parametrize("limit", [1, 100])
def test_a_search_finds_an_applications_tasks(shop: Shop, q: str, expected: set[str], limit: int) -> None:
    names = {task.id: name for name, task in vars(shop).items() if isinstance(task, Task)}
    assert {names[id_] for id_ in _found(q, limit)} == expected


def _found(q: str, limit: int) -> list[Any]:
    """Everything that a search finds, over all its pages, in the order in which it finds it."""
    chosen: TaskFilter | None = TaskFilter(q=q, limit=limit)
    ids: list[Any] = []
    while chosen is not None:
        page = chosen.page()
        ids += [item.task.id for item in page.tasks]
        chosen = page.following
    assert len(ids) == len(set(ids))
    return ids


def test_the_filter_and_the_search_hold_together(shop: Shop) -> None:
    assert {item.task.id for item in TaskFilter(application="shop", q="status:FAILURE").page().tasks} == {shop.failed.id}
    assert TaskFilter(application="shop", q="application:zenith").page().tasks == []
    assert TaskFilter(application="sh*").page().tasks == []


def test_every_task_has_the_name_of_its_application(shop: Shop) -> None:
    for bare in (True, False):
        names = {item.task.id: item.application for item in TaskFilter().page(bare=bare).tasks}
        assert names == {task.id: task.application.name for task in vars(shop).values() if isinstance(task, Task)}


terms = st.lists(
    st.sampled_from([
        "application:shop", "application:shop*", "application:zenith", "application:none", "-application:shop", "status:SUCCESS",
        "-status:SUCCESS", "name:shop.pay", "name:other", "queue:default", "worker:celery", "worker:none", "-worker:celery",
    ]),
    max_size=4,
)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=terms, reach=st.sampled_from([4, 20_000]))
def test_a_search_finds_what_a_look_at_every_row_finds(chosen: list[str], reach: int, shop: Shop) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "REACH", reach)
        patch.setattr(index_scan, "MIN_REACH", 1)
        assert set(_found(" ".join(chosen), 2)) == {task.id for task in Task.objects.all() if _fits(task, chosen)}


def _fits(task: Task, chosen: list[str]) -> bool:
    values = {
        "application": task.application.name, "status": task.status, "name": task.name, "queue": task.queue,
        "worker": task.worker.partition("@")[0],
    }  # fmt: skip
    for key, value in values.items():
        wanted = [term.partition(":")[2] for term in chosen if term.startswith(f"{key}:")]
        unwanted = [term.partition(":")[2] for term in chosen if term.startswith(f"-{key}:")]
        if wanted and not any(_like(value, pattern) for pattern in wanted):
            return False
        if any(_like(value, pattern) for pattern in unwanted):
            return False
    return True


def _like(value: str, pattern: str) -> bool:
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern


def test_an_old_rare_application_is_found_at_once_among_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "REACH", 4)
    monkeypatch.setattr(index_scan, "MIN_REACH", 1)
    old = task_of(attach("rare"), "1", created_at=timezone.now() - timedelta(days=9))
    for _ in range(30):
        make(created_at=timezone.now())
    for q in ("application:rare", "-application:zenith", "application:rare status:QUEUED"):
        page = TaskFilter(q=q).page()
        assert ([item.task for item in page.tasks], page.following) == ([old], None)


def test_a_limited_callers_cursor_tells_no_id_of_another_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "REACH", 4)
    monkeypatch.setattr(index_scan, "MIN_REACH", 1)
    now = timezone.now()
    old = [make(created_at=now - timedelta(days=days)) for days in (8, 9)]
    hidden = [task_of(attach("rare"), str(number), created_at=now).id for number in range(30)]
    chosen: TaskFilter | None = TaskFilter(limit=1).limited_to({"zenith"})
    seen, cursors = [], []
    while chosen is not None:
        page = chosen.page()
        seen += [item.task for item in page.tasks]
        chosen = page.following
        cursors += [Place.of_cursor(chosen.cursor)] if chosen else []
    assert seen == old
    assert len(cursors) > 5
    assert not {place.id for place in cursors} & set(hidden)


def test_an_applications_list_and_figures_read_its_own_index(shop: Shop) -> None:
    with CaptureQueriesContext(connection) as queries:
        TaskFilter(application="shop").page(bare=True)
        applications.find("shop")
    scans = [query["sql"] for query in queries if "key.application_id" in query["sql"]]
    assert len(scans) == 2
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # a table of a few rows is read whole otherwise
        for scan in scans:
            cursor.execute(f"EXPLAIN {scan}")
            assert "task_application_newest" in " ".join(row[0] for row in cursor.fetchall())


@pytest.mark.parametrize("count", [3, 60])
def test_a_search_takes_three_queries_however_much_there_is(count: int, django_assert_max_num_queries: Any) -> None:
    application = attach("shop")
    for number in range(count):
        task_of(application, str(number), **ended())
    with django_assert_max_num_queries(4):  # the applications, a scan, the tasks, their applications' names
        TaskFilter(q="application:shop").page(bare=True)


def test_what_can_be_done_with_many_tasks_can_be_done_with_those_of_all_applications(shop: Shop) -> None:
    own_open = make(created_at=timezone.now())
    assert set(TaskFilter().open_ids(10)) == {own_open.id, shop.waiting.id}
    assert TaskFilter(q="application:shop").open_ids(10) == [shop.waiting.id]
    assert shop.paid.id in TaskFilter(status=Status.SUCCESS, q="application:shop").ended_ids(10)
    assert open_among([own_open.id, shop.waiting.id, shop.paid.id]) == {own_open.id, shop.waiting.id}
    assert shop.own.id in found("application:zenith")


# --- Figures and workers ---


def beat(name: str, application: str = "", **more: Any) -> None:
    heartbeat.write(name, application=application, **{"slots": 4, "busy": 1, "queues": ["tills"], **more})


def test_figures_are_counted_for_attached_applications(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    beat("celery@host", "shop")
    own, first, second = applications.applications()
    assert [view.application.name for view in (own, first, second)] == ["zenith", "shop", "shop-2"]
    assert (own.by_status, own.online) == (None, 0)
    assert (first.by_status, first.online) == ({Status.QUEUED: 1, Status.SUCCESS: 1, Status.FAILURE: 1}, 1)
    assert (second.by_status, second.online, second.is_capped) == ({Status.SUCCESS: 1}, 0, False)
    monkeypatch.setattr(applications, "COUNTED_TO", 1)
    assert applications.applications()[1].is_capped


def test_figures_take_two_queries(shop: Shop, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        applications.applications()
    with django_assert_num_queries(2):
        assert applications.find("shop")
    assert applications.find("nothing") is None


def test_workers_of_the_same_name_have_their_own_tasks(shop: Shop) -> None:
    running = task_of(shop.application, "run", worker="celery@host", status=Status.STARTED)
    own = make(worker="celery@host", status=Status.STARTED)
    beat("celery@host")
    beat("celery@host", "shop")
    assert [task.id for view in workers() for task in view.tasks] == [own.id]
    assert [task.id for view in workers_of(shop.application) for task in view.tasks] == [running.id]


# --- Pages ---


def test_without_another_application_the_page_says_how_to_watch_and_attach_one(person: Client) -> None:
    Application.objects.get_or_create(id=NATIVE_ID, defaults={"name": "zenith", "kind": Kind.NATIVE})
    page = text(person, "/applications/")
    assert "celery -A shop worker -I zenith_worker.auto" in page
    assert "An administrator can enter it" in page
    assert 'href="/applications/"' in text(person, "/tasks/")
    assert '<th scope="col">Application</th>' not in text(person, "/tasks/")


def test_with_one_the_pages_show_it(person: Client, shop: Shop) -> None:
    beat("celery@till-1", "shop")
    page = text(person, "/applications/")
    assert 'href="/applications/shop/"' in page
    assert "?status=SUCCESS&amp;q=application:shop" in page
    assert "zenith_worker.auto" not in page
    tasks = text(person, "/tasks/")
    assert '<th scope="col">Application</th>' in tasks
    assert tasks.count('<td class="nowrap">shop</td>') == 3
    assert '<option value="application:shop">' in tasks
    assert text(person, "/tasks/?application=shop").count('id="task-') == 3


def test_an_applications_page_shows_its_workers_and_tasks_and_what_is_not_there(person: Client, shop: Shop) -> None:
    beat("celery@till-1", "shop")
    page = text(person, "/applications/shop/")
    assert "celery@till-1" in page
    assert f"/tasks/{shop.paid.id}/" in page
    assert f"/tasks/{shop.other.id}/" not in page
    assert "/tasks/?q=application%3Ashop" in page
    assert "and controls its workers. It repairs nothing" in page
    assert "Not isolated: any program that reaches this Redis can write under" in page
    assert 'href="/workers/celery@till-1/?application=shop"' in page
    fragment = person.get("/applications/shop/", headers={"HX-Request": "true"})
    assert fragment.content.strip().startswith(b'<ul id="counters"')
    assert b'<div id="application"' in fragment.content
    own = text(person, "/applications/zenith/")
    assert "repairs nothing" not in own
    assert f"/tasks/{shop.own.id}/" in own
    assert person.get("/applications/nothing/").status_code == 404


def test_a_task_of_another_application_has_the_buttons_that_work(person: Client, shop: Shop) -> None:
    for task, verb in ((shop.waiting, "cancel"), (shop.failed, "again")):
        page = text(person, f"/tasks/{task.id}/")
        assert 'href="/applications/shop/"' in page
        assert f"/tasks/act/{verb}/" in page
        assert 'id="curl"' not in page
        assert f"?like={task.id}" in page
    own = text(person, f"/tasks/{shop.own.id}/")
    assert 'href="/applications/zenith/"' in own
    assert "/tasks/act/again/" in own
    assert "shop has not told its tasks yet" in text(person, f"/dispatch/?like={shop.paid.id}")


def test_a_hostile_application_is_shown_as_text(person: Client) -> None:
    application = attach("evil", main=HOSTILE, celery_version=HOSTILE[:50], python_version=HOSTILE[:50])
    task = task_of(application, HOSTILE, name=HOSTILE, queue=HOSTILE, worker=HOSTILE, **ended())
    beat(HOSTILE, "evil", queues=[HOSTILE])
    for path in ("/applications/", "/applications/evil/", "/tasks/", f"/tasks/{task.id}/"):
        page = text(person, path)
        assert "<script>alert" not in page
        assert escape(HOSTILE) in page
    assert person.get("/applications/%3Cscript%3E/").status_code == 404
    assert person.get(f"{API}/{'x' * 3000}").status_code in (401, 404)


# --- Why a task is in its status ---


def why(task: Task) -> str:
    found_detail = detail(str(task.id))
    assert found_detail
    return found_detail.why


def test_a_waiting_task_is_explained_by_its_own_applications_workers(shop: Shop) -> None:
    beat("celery@host", queues=["tills"])  # Zenith's own: it does not consume that queue of the shop's
    assert why(shop.waiting) == "No worker of shop that reports to Zenith consumes the queue tills."
    beat("celery@till-1", "shop")
    assert why(shop.waiting) == "Waiting in the queue tills of shop. 1 worker consumes it, 3 slots free."


def test_nothing_is_promised_for_a_task_whose_worker_is_gone(shop: Shop) -> None:
    running = task_of(shop.application, "run", worker="celery@gone", status=Status.STARTED, started_at=timezone.now())
    assert "stays as it was last heard of, unless the broker delivers it again" in why(running)
    beat("celery@gone", "shop")
    assert why(running).startswith("celery@gone has been running it for")
    Task.objects.filter(id=running.id).update(started_at=timezone.now() - timedelta(seconds=60))
    assert why(running).startswith("celery@gone no longer holds it.")
    beat("celery@gone", "shop", held=["run"])
    assert why(running).startswith("celery@gone has been running it for")
    assert why(shop.failed) == "Failed after attempt 1: ValueError."


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.PENDING, "It waits to be sent by a worker of shop. Redis is unreachable"),
        (Status.QUEUED, "Waiting in the queue default of shop. Redis is unreachable"),
        (Status.RECEIVED, "A worker has reserved it"),
        (Status.RETRY, "Attempt 1 failed; shop retries it."),
        (Status.SUCCESS, "Succeeded."),
    ],
)
def test_without_redis_it_says_what_it_knows(status: Status, expected: str) -> None:
    task = Task(status=status, queue="default", text_id="1")
    assert explain_attached(task, "shop", None, timezone.now()).startswith(expected)


# --- Guards ---


def guarded(*names: str) -> heartbeat.About:
    return heartbeat.About(guards=names)


def test_what_becomes_of_a_task_whose_worker_died_depends_on_its_guards(shop: Shop) -> None:
    running = task_of(shop.application, "run", worker="celery@gone", status=Status.STARTED, started_at=timezone.now())
    beat("celery@one", "shop", about=guarded("recovery"))
    assert "comes back within half a minute, if it acknowledges late" in why(running)
    Task.objects.filter(id=running.id).update(status=Status.RECEIVED)
    assert why(running).endswith("comes back within half a minute: its worker has the guard recovery.")
    beat("celery@two", "shop")
    assert "unless the broker delivers it again" in why(running), "perhaps it had no guard"
    Task.objects.filter(id=running.id).update(status=Status.STARTED, acks_early=True)
    assert "does not come back" in why(running)


def test_with_claims_a_cancelled_task_is_refused_by_every_worker(shop: Shop) -> None:
    Task.objects.filter(id=shop.waiting.id).update(cancel_requested_at=timezone.now())
    beat("celery@one", "shop", about=guarded("claims"))
    beat("celery@two", "shop", about=guarded("claims:closed"))
    assert "also those that have not heard of it yet" in why(shop.waiting)
    beat("celery@three", "shop")
    assert why(shop.waiting) == "Cancelled; the workers of shop refuse it when they receive it."


def test_the_guards_of_an_application_are_those_of_its_workers(person: Client, api: ApiClient, shop: Shop) -> None:
    def shown() -> tuple[list[str] | None, list[str], str]:
        out = StringIO()
        call_command("applications", stdout=out)
        line = next(line for line in out.getvalue().splitlines() if line.startswith("shop "))
        item = api("read").get(f"{API}/shop").json()
        return item["guards"], item["guards_partial"], line.partition("  guards: ")[2]

    assert shown() == (None, [], "")
    assert "its guards are not known" in text(person, "/applications/shop/")
    beat("celery@one", "shop")
    assert shown() == ([], [], "none")
    assert "ZENITH_GUARD=claims,recovery,retries" in text(person, "/applications/shop/")
    # What a newer release or a stranger tells is left out.
    beat("celery@one", "shop", about=guarded("retries", "claims", HOSTILE, "x" * 1000))
    assert shown() == (["claims", "retries"], [], "claims, retries")
    page = text(person, "/applications/shop/")
    assert "While Redis is away, tasks run without that." in page
    assert "Its workers differ" not in page
    assert HOSTILE not in page
    assert "repairs nothing" in page
    assert "is retried with exponential back-off" in text(person, "/workers/celery@one/?application=shop")
    beat("celery@two", "shop", about=guarded("claims", "recovery"))
    assert shown() == (["claims"], ["recovery", "retries"], "claims (only on some workers: recovery, retries)")
    page = text(person, "/applications/shop/")
    assert "Its workers differ" in page
    assert page.count("Only on some workers.") == 2
    assert 'id="guards"' not in text(person, "/applications/zenith/")
    assert api("read").get(f"{API}/zenith").json()["guards"] is None


# --- API ---


def test_the_api_lists_and_shows_applications(api: ApiClient, shop: Shop) -> None:
    beat("celery@till-1", "shop")
    client = api("read")
    listed = client.get(API).json()
    assert [item["name"] for item in listed] == ["zenith", "shop", "shop-2"]
    shown = client.get(f"{API}/shop").json()
    assert shown == listed[1]
    assert shown["first_heard_at"] is not None
    assert {name: value for name, value in shown.items() if not name.endswith("_at")} == {
        "name": "shop", "kind": "attached", "main": "shop", "celery_version": "5.5.3", "python_version": "3.12.1",
        "workers_online": 1, "tasks_by_status": {"QUEUED": 1, "SUCCESS": 1, "FAILURE": 1}, "reports_dropped": 0,
        "isolated": False, "guards": [], "guards_partial": [], "watching": None, "observer": None,
    }  # fmt: skip
    assert client.get(f"{API}/zenith").json()["tasks_by_status"] is None
    missing = client.get(f"{API}/nothing")
    assert (missing.status_code, missing["Content-Type"]) == (404, "application/problem+json")


def test_the_api_filters_tasks_and_names_their_application(api: ApiClient, shop: Shop) -> None:
    client = api("read")
    listed = client.get("/api/v1/tasks?application=shop-2").json()
    assert [(item["task_id"], item["application"]) for item in listed] == [("pay-1", "shop-2")]
    assert len(client.get("/tasks/all?application=shop").json()) == 3
    assert len(client.get("/api/v1/tasks?q=-application:zenith").json()) == 4
    assert client.get("/api/v1/tasks?application=nothing").json() == []
    assert client.get(f"/api/v1/tasks/{shop.own.id}").json()["application"] == "zenith"
    assert client.get(f"/api/v1/tasks/{shop.paid.id}").json()["application"] == "shop"
    assert client.get("/api/v1/tasks?application=%00").status_code == 422


def test_the_path_of_a_whole_value_names_the_right_applications_task(api: ApiClient, shop: Shop) -> None:
    whole = "x" * (2 * SHOWN)
    for task in (shop.other, shop.waiting, make(id=key_of("pay-1"), text_id="pay-1", source="external")):
        Task.objects.filter(id=task.id).update(args=[f"{task.application_id}{whole}"])
    client = api("read")
    for name in ("zenith", "shop", "shop-2"):
        [item] = [item for item in client.get(f"/api/v1/tasks?application={name}").json() if item["task_id"] == "pay-1"]
        value = client.get(item["cut"]["data"]).json()
        assert value[0] == f"{Application.objects.get(name=name).pk}{whole}"


def test_a_token_without_read_sees_none(api: ApiClient) -> None:
    assert api("dispatch").get(API).status_code == 403


# --- Command and admin ---


def command(*args: str) -> str:
    out = StringIO()
    call_command("applications", *args, stdout=out)
    return out.getvalue()


def test_the_command_lists_applications(shop: Shop) -> None:
    lines = command().splitlines()
    assert [line.split()[:2] for line in lines] == [["zenith", "native"], ["shop", "attached"], ["shop-2", "attached"]]
    assert "3 tasks" in lines[1]
    assert [item["name"] for item in json.loads(command("--json"))] == ["zenith", "shop", "shop-2"]


def test_the_command_says_how_to_attach_the_first() -> None:
    assert "docs/attach.md" in command()


def test_a_terminal_gets_no_control_characters(shop: Shop) -> None:
    Application.objects.filter(name="shop").update(main="\x1b[31mred")
    assert "\x1b" not in command()


def test_the_admin_shows_applications_and_changes_none(client: Client, admin: User, shop: Shop) -> None:
    client.force_login(admin)
    assert "shop" in text(client, "/admin/tasks_app/application/")
    address = f"/admin/tasks_app/application/{shop.application.pk}/change/"
    assert client.get(address).status_code == 200
    assert client.post(address, {"name": "mine"}).status_code == 403
    assert client.get("/admin/tasks_app/application/add/").status_code == 403


def test_reports_that_were_dropped_are_told(shop: Shop, api: ApiClient, person: Client) -> None:
    keys = application_keys("shop").dropped
    redis_client().hset(keys, mapping={"one:1": "12", "two:1": "30", "odd": "many", "long": "9" * 40})
    assert api("read").get("/api/v1/applications/shop").json()["reports_dropped"] == 42
    assert "Reports dropped" in person.get("/applications/shop/").content.decode()
    redis_client().delete(keys)
    redis_client().set(keys, "something else")
    assert api("read").get("/api/v1/applications/shop").json()["reports_dropped"] == 0
    assert "Reports dropped" not in person.get("/applications/shop/").content.decode()
