"""Catalogues of other applications: taken in from what their workers wrote, kept for a while, and used for dispatching."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from tasks_app import catalog
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.errors import DrillsOffError, InvalidDispatchError
from tasks_app.maintenance import catalogues as engine
from tasks_app.models import Application, Catalogue, Task, TaskMessage
from tasks_app.models.application import NATIVE_ID, Kind
from tasks_app.queries.arguments import shown_arguments
from tasks_app.queries.tasks import TaskFilter
from tests.integration.conftest import ApiClient
from zenith_site.common import faults
from zenith_site.common.masking import MASK
from zenith_worker.wire import catalogues, heartbeat
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.heartbeat import About
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import application_keys
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

API = "/api/v1/catalogue"
PAGE = "/dispatch/"
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


def parameter(name: str, schema: Any = True, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "positional_or_keyword", "required": True, "schema": schema, **more}


def task(*parameters: Any, **more: Any) -> dict[str, Any]:
    return {"doc": "", "queue": None, "max_retries": 3, "drill": False, "parameters": list(parameters), **more}


CHARGE = task(
    parameter("amount", {"type": "integer"}), parameter("note", {"type": "string"}, required=False, default="none"),
    doc="Charge a customer.", queue="tills",
)  # fmt: skip
TASKS = {"shop.charge": CHARGE, "shop.tidy": task()}


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    redis_client().flushdb()


@pytest.fixture
def shop() -> Application:
    return attached("shop")


def attached(name: str) -> Application:
    Application.objects.get_or_create(id=NATIVE_ID, defaults={"name": "zenith", "kind": Kind.NATIVE})
    return Application.objects.create(name=name, kind=Kind.ATTACHED)


def beat(name: str, digest: str, host: str = "a") -> None:
    heartbeat.write(f"celery@{host}", slots=1, busy=0, queues=[], application=name, about=About(catalogue=digest))


def told(name: str, tasks: dict[str, Any], host: str = "a") -> str:
    """What a worker does: write its catalogue, and name it in its heartbeat."""
    digest, written = catalogues.encode(tasks)
    catalogues.publish(name, digest, written)
    beat(name, digest, host)
    return digest


def take_in() -> None:
    engine.take_in()
    catalog.forget()


def aged(**values: float) -> None:
    """Make catalogues older by this many seconds, by their digest."""
    for digest, seconds in values.items():
        Catalogue.objects.filter(digest=digest).update(last_seen_at=timezone.now() - timedelta(seconds=seconds))
    catalog.forget()


def text(client: Client, path: str, status: int = 200) -> str:
    response = client.get(path)
    assert response.status_code == status, response.content
    return response.content.decode()


# --- Taking in ---


def test_what_a_worker_tells_is_taken_in_once(shop: Application) -> None:
    digest = told("shop", TASKS)
    engine.take_in()
    row = Catalogue.objects.get()
    assert (row.application, row.digest, row.tasks, row.left_out) == (shop, digest, TASKS, 0)
    engine.take_in()
    again = Catalogue.objects.get()
    assert (again.pk, again.last_seen_at) == (row.pk, row.last_seen_at), "not written at every look"
    Catalogue.objects.update(last_seen_at=timezone.now() - timedelta(seconds=engine.SEEN_EVERY + 1))
    engine.take_in()
    assert Catalogue.objects.get().last_seen_at > row.last_seen_at


def test_engines_that_take_in_at_once_do_it_once(shop: Application) -> None:
    for number in range(3):
        told("shop", {f"shop.task{number}": task()}, host=str(number))

    def one(_: int) -> None:
        try:
            engine.take_in()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(one, range(4)))
    assert Catalogue.objects.count() == 3


def test_a_worker_that_tells_no_tasks_has_no_catalogue(shop: Application) -> None:
    heartbeat.write("celery@old", slots=1, busy=0, queues=[], application="shop")
    beat("shop", "neverwritten", "b")
    beat("shop", "not a digest\n", "c")
    beat("shop", "x" * 65, "d")
    engine.take_in()
    assert not Catalogue.objects.exists()


@pytest.mark.parametrize("written", ["", "nonsense", "[]", "\ud800", '{"shop.charge": 7}', "x" * (catalogues.JSON_AT_MOST + 1)])
def test_nonsense_is_a_catalogue_without_tasks(shop: Application, written: str) -> None:
    if written:
        redis_client().hset(application_keys("shop").catalogue, "d1", written.encode("utf-8", "surrogatepass"))
    beat("shop", "d1")
    engine.take_in()
    rows = list(Catalogue.objects.values_list("tasks", "left_out"))
    assert rows == ([({}, 1)] if written else [])


def test_an_application_that_breaks_its_keys_stops_no_other(shop: Application) -> None:
    for name in ("bad-a", "bad-z"):
        attached(name)
    redis_client().set(application_keys("bad-a").catalogue, "text")
    beat("bad-a", "d1")
    redis_client().set(application_keys("bad-z").workers, "text")
    told("shop", TASKS)
    engine.take_in()
    assert Catalogue.objects.get().application == shop
    assert [fault.part for fault in faults.recent()] == ["reconciler"]


def test_the_number_of_catalogues_is_bounded(shop: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "KEPT_AT_MOST", 4)
    for number in range(12):
        told("shop", {f"shop.task{number}": task()}, host=str(number))
    for _ in range(3):
        engine.take_in()
        assert Catalogue.objects.count() <= 4
    assert redis_client().hlen(application_keys("shop").catalogue) <= engine.LIVE_AT_MOST


def test_what_no_worker_has_is_forgotten_but_the_newest(shop: Application) -> None:
    other = attached("bank")
    for application, digest, days in ((shop, "old", 9), (shop, "older", 10), (other, "only", 30)):
        at = timezone.now() - timedelta(days=days)
        Catalogue.objects.create(application=application, digest=digest, tasks={}, first_seen_at=at, last_seen_at=at)
    engine.take_in()
    assert set(Catalogue.objects.values_list("digest", flat=True)) == {"old", "only"}
    told("shop", TASKS)
    engine.take_in()
    assert set(Catalogue.objects.values_list("application__name", flat=True)) == {"shop", "bank"}
    assert Catalogue.objects.count() == 2


def test_redis_keeps_what_a_worker_wrote_before_its_heartbeat(shop: Application) -> None:
    told("shop", TASKS)
    catalogues.publish("shop", "soon", "{}")
    engine.take_in()
    assert redis_client().hexists(application_keys("shop").catalogue, "soon")


# --- The catalogue ---


def test_tasks_are_those_of_the_application(shop: Application) -> None:
    told("shop", TASKS)
    take_in()
    assert list(catalog.offered(shop)) == ["shop.charge", "shop.tidy"]
    assert "shop.charge" not in catalog.offered()
    assert "analyze_text" in catalog.offered()
    entry = catalog.get("shop.charge", shop)
    assert (entry.description, entry.queue, entry.max_retries, entry.versions) == ("Charge a customer.", "tills", 3, 1)
    assert [problem.pointer for problem in entry.problems(["7"], {})] == ["/args/0"]
    with pytest.raises(InvalidDispatchError, match=r"shop has no task 'analyze_text'; its tasks are: shop\.charge, shop\.tidy"):
        catalog.get("analyze_text", shop)


def test_looking_again_costs_no_query(shop: Application, django_assert_num_queries: Any) -> None:
    told("shop", TASKS)
    take_in()
    with django_assert_num_queries(1):
        for _ in range(3):
            catalog.get("shop.charge", shop)
            catalog.offered(shop)
    with django_assert_num_queries(0):
        catalog.get("analyze_text")


def test_without_a_catalogue_it_is_said_what_to_do(shop: Application) -> None:
    assert catalog.offered(shop) == {}
    with pytest.raises(InvalidDispatchError, match="no worker of shop has told its tasks yet: start one"):
        catalog.get("shop.charge", shop)


def test_during_a_rolling_deploy_all_versions_count(shop: Application) -> None:
    old = told("shop", TASKS, "a")
    take_in()
    new = told("shop", {"shop.charge": task(parameter("amount"), parameter("currency")), "shop.new": task()}, "b")
    take_in()
    assert list(catalog.offered(shop)) == ["shop.charge", "shop.new", "shop.tidy"]
    entry = catalog.get("shop.charge", shop)
    assert entry.versions == 2
    assert entry.positional_names == ["amount", "currency"], "the newest makes the form"
    (problem,) = entry.problems([1], {"currency": "EUR"})
    assert problem.detail.endswith("(in 1 of the 2 versions of this task that are running)")
    assert catalog.get("shop.tidy", shop).problems([], {}) == []
    aged(**{old: 31})
    assert list(catalog.offered(shop)) == ["shop.charge", "shop.new"]
    assert catalog.get("shop.charge", shop).problems([1], {"currency": "EUR"}) == []
    aged(**{old: 65, new: 60})
    assert list(catalog.offered(shop)) == ["shop.charge", "shop.new"], "no worker is online: the newest counts"
    assert catalog.get("shop.charge", shop).versions == 0


def test_drills_of_theirs_are_drills(shop: Application, settings: Any) -> None:
    told("shop", {"shop.crash": task(drill=True)})
    take_in()
    settings.ZENITH_DRILLS = False
    assert catalog.offered(shop) == {}
    with pytest.raises(DrillsOffError):
        catalog.get("shop.crash", shop)
    settings.ZENITH_DRILLS = True
    assert list(catalog.offered(shop)) == ["shop.crash"]


def test_a_catalogue_of_many_tasks_is_read_quickly_enough_to_be_used(shop: Application) -> None:
    told("shop", {f"shop.task{number}": CHARGE for number in range(catalogues.TASKS_AT_MOST)})
    take_in()
    with pytest.raises(InvalidDispatchError) as caught:
        catalog.get("nothing", shop)
    (problem,) = caught.value.problems
    assert problem.detail.endswith("and 1,970 more")


# --- API and command ---


def test_the_api_lists_an_applications_tasks(shop: Application, api: ApiClient) -> None:
    told("shop", TASKS)
    take_in()
    reader = api("read")
    charge, tidy = reader.get(f"{API}?application=shop").json()
    assert (charge["name"], charge["application"], charge["versions"], charge["queue"]) == ("shop.charge", "shop", 1, "tills")
    assert charge["arguments"]["properties"]["note"] == {"type": "string", "default": "none"}
    assert (tidy["queue"], tidy["first_argument"]) == (None, None)
    assert reader.get(f"{API}/shop.charge?application=shop").json() == charge
    own = reader.get(API).json()
    assert {item["application"] for item in own} == {"zenith"}
    assert reader.get(f"{API}?application=zenith").json() == own


@pytest.mark.parametrize("name", ["nothing", "", "%00", "Shop", "x" * 300])
def test_an_unknown_application_is_404(shop: Application, api: ApiClient, name: str) -> None:
    for path in (API, f"{API}/shop.charge"):
        assert api("read").get(f"{path}?application={name}").status_code == 404


def test_unknown_tasks_and_parameters_are_refused(shop: Application, api: ApiClient) -> None:
    reader = api("read")
    assert reader.get(f"{API}/analyze_text?application=shop").status_code == 404
    assert reader.get(f"{API}?app=shop").status_code in (400, 422)


# --- Pages ---


def test_one_application_is_no_choice(person: Client) -> None:
    assert "applications-title" not in text(person, f"{PAGE}?task=analyze_text")


def test_a_form_is_made_of_what_a_worker_told(shop: Application, person: Client) -> None:
    told("shop", TASKS)
    take_in()
    page = text(person, PAGE)
    assert 'href="?application=shop"' in page
    page = text(person, f"{PAGE}?application=shop")
    assert "?application=shop&amp;task=shop.charge" in page
    assert "analyze_text" not in page
    page = text(person, f"{PAGE}?application=shop&task=shop.charge")
    assert "Charge a customer." in page
    assert 'name="arg-amount"' in page
    assert '<input type="hidden" name="application" value="shop">' in page
    assert 'name="max_retries"' not in page
    assert 'name="max_retries"' in text(person, f"{PAGE}?task=analyze_text")
    text(person, f"{PAGE}?application=nothing", 404)


def test_a_preview_has_the_application(shop: Application, person: Client) -> None:
    told("shop", TASKS)
    take_in()
    body = {"application": "shop", "task": "shop.charge", "arg-amount": "7", "preview": "1"}
    page = person.post(PAGE, body).content.decode()
    assert "&quot;application&quot;: &quot;shop&quot;" in page
    assert "&quot;amount&quot;: 7" in page
    own = person.post(PAGE, {"task": "analyze_text", "arg-data": "x", "preview": "1"}).content.decode()
    assert "&quot;application&quot;" not in own
    wrong = person.post(PAGE, {**body, "arg-amount": "seven"})
    assert wrong.status_code == 422
    assert "id_arg-amount_error" in wrong.content.decode()


def test_an_application_that_tells_nothing_says_what_to_do(shop: Application, person: Client) -> None:
    page = text(person, f"{PAGE}?application=shop")
    assert "shop has not told its tasks yet" in page
    assert "upgrade <code>zenith_worker</code>" in page
    assert "None of its workers has told its tasks yet" in text(person, "/applications/shop/")


def test_the_page_tells_of_versions_and_of_nobody_online(shop: Application, person: Client) -> None:
    first = told("shop", TASKS, "a")
    second = told("shop", {"shop.charge": task(parameter("amount"), parameter("currency"))}, "b")
    take_in()
    assert "2 versions of this task are running" in text(person, f"{PAGE}?application=shop&task=shop.charge")
    page = text(person, f"{PAGE}?application=shop&task=shop.tidy")
    assert "1 of them does not have this task" in page
    assert "2 versions of shop are running" in page
    aged(**{first: 60, second: 61})
    page = text(person, f"{PAGE}?application=shop&task=shop.charge")
    assert "No worker of shop that tells its tasks is online" in page


def test_a_copy_fills_the_form_in(shop: Application, person: Client) -> None:
    told("shop", {"shop.charge": task(parameter("amount"), parameter("more", kind="var_keyword", required=False))})
    take_in()
    row = Task.objects.create(
        id=key_of("x-1", "shop"), text_id="x-1", application=shop, name="shop.charge", queue="tills", status=Status.SUCCESS,
        args=[4711], kwargs={"password": "hunter2", "who": "ann"}, source="external", created_at=timezone.now(),
        finished_at=timezone.now(),
    )  # fmt: skip
    page = text(person, f"{PAGE}?like={row.id}")
    assert "4711" in page
    assert "ann" in page
    assert "hunter2" not in page
    assert 'value="tills"' not in page, "its own routes choose"
    TaskMessage.objects.create(task=row, extras={"opaque": True})
    page = text(person, f"{PAGE}?like={row.id}")
    assert "4711" not in page
    assert "are not JSON" in page


def test_a_batch_of_many_is_checked_with_one_effort(shop: Application) -> None:
    told("shop", {"shop.charge": task(parameter("amount", {"anyOf": [{"enum": list(range(100))}] * 90}))})
    take_in()
    with pytest.raises(InvalidDispatchError):
        dispatch(Dispatch(task="shop.charge", application="shop", data=[99, -1]), Origin(source="api"))
    assert (
        len(dispatch(Dispatch(task="shop.charge", application="shop", data=[99] * 200 + [-1]), Origin(source="api")).ids) == 201
    )


def test_a_copy_tells_which_arguments_have_no_field(shop: Application, person: Client) -> None:
    told("shop", {"shop.charge": task(parameter("amount"), parameter("rest", kind="var_positional", required=False))})
    take_in()
    row = Task.objects.create(
        id=key_of("x-1", "shop"), text_id="x-1", application=shop, name="shop.charge", queue="tills", status=Status.SUCCESS,
        args=["4711"], kwargs={}, source="external", created_at=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    page = text(person, f"{PAGE}?like={row.id}")
    assert "&quot;4711&quot;</textarea>" in page, "it stays a text"
    assert "no field" not in page
    Task.objects.filter(id=row.id).update(args=[1, 2, 3], kwargs={"currency": "EUR"})
    page = text(person, f"{PAGE}?like={row.id}")
    assert "this form has no field for them: argument 2, argument 3, currency." in page


def test_arguments_of_any_name_are_given_as_json(shop: Application, person: Client) -> None:
    told("shop", {"shop.any": task(parameter("kwargs", {"type": "integer"}, kind="var_keyword", required=False))})
    take_in()
    body = {"application": "shop", "task": "shop.any", "preview": "1"}
    page = person.post(PAGE, {**body, "others": '{"a": 1}'}).content.decode()
    assert "&quot;a&quot;: 1" in page
    assert person.post(PAGE, {**body, "others": "[]"}).status_code == 422


def test_a_choice_of_values_is_a_choice_in_the_form(shop: Application, person: Client) -> None:
    told(
        "shop", {"shop.mode": task(parameter("mode", {"enum": ["fast", 1, None]}), parameter("n", {"type": ["integer", "null"]}))}
    )
    take_in()
    page = text(person, f"{PAGE}?application=shop&task=shop.mode")
    assert '<option value="&quot;fast&quot;">fast</option>' in page
    assert "integer or null" in page
    body = {"application": "shop", "task": "shop.mode", "preview": "1", "arg-n": "3"}
    assert "&quot;mode&quot;: 1" in person.post(PAGE, {**body, "arg-mode": "1"}).content.decode()
    assert "&quot;mode&quot;: &quot;fast&quot;" in person.post(PAGE, {**body, "arg-mode": '"fast"'}).content.decode()
    assert person.post(PAGE, {**body, "arg-mode": "2"}).status_code == 422


def test_an_applications_page_lists_its_tasks(shop: Application, person: Client) -> None:
    told("shop", TASKS)
    take_in()
    page = text(person, "/applications/shop/")
    assert "/dispatch/?application=shop&amp;task=shop.charge" in page
    assert re.search(r'<details id="offered-list"[^>]*\bopen>', page)
    told("shop", {f"shop.task{number}": task() for number in range(11)}, "a")
    Catalogue.objects.all().delete()
    take_in()
    assert not re.search(r'<details id="offered-list"[^>]*\bopen>', text(person, "/applications/shop/"))


def test_what_a_stranger_tells_is_shown_as_text(shop: Application, person: Client, api: ApiClient) -> None:
    schema = {"type": "string", "description": HOSTILE, "default": HOSTILE, "format": HOSTILE, "enum": [HOSTILE]}
    hostile = task(parameter("x", schema), doc=HOSTILE)
    told("shop", {HOSTILE: hostile, "a b&c=d#e": hostile, "x/../y": task()})
    take_in()
    for name in (HOSTILE, "a b&c=d#e", "x/../y"):
        page = person.get(PAGE, {"application": "shop", "task": name})
        assert page.status_code == 200
        assert b'name="preview"' in page.content
        assert b"<script>alert" not in page.content
    assert "<script>alert" not in text(person, "/applications/shop/")
    assert len(api("read").get(f"{API}?application=shop").json()) == 3


# --- Arguments that were sent by position ---


def sent(application: Application, celery_id: str, *args: Any) -> Task:
    return Task.objects.create(
        id=key_of(celery_id, application.key_name), text_id=celery_id, application=application, name="shop.login", queue="q",
        status=Status.SUCCESS, args=list(args), source="external", created_at=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip


def test_a_secret_in_a_place_that_is_known_is_masked_and_not_found(shop: Application) -> None:
    told("shop", {"shop.login": task(parameter("user"), parameter("password"))})
    take_in()
    row, other = sent(shop, "l-1", "ann", "hunter2"), sent(attached("bank"), "l-1", "ann", "hunter2")
    assert shown_arguments(row).args == ["ann", MASK]
    assert shown_arguments(other).args == ["ann", "hunter2"], "whose catalogue says nothing of it"

    def found(q: str, **more: Any) -> set[Any]:
        return {item.task.id for item in TaskFilter(q=q).page(**more).tasks}

    assert found("args.1:hunter2") == set()
    assert found("args.1:hunter2", unmasked=True) == {row.id, other.id}
    assert found("args.user:ann") == {row.id}, "by its name, though it was sent by position"
    assert found("args.user:bob") == set()
    assert found("args.password:hunter2", unmasked=True) == {row.id}


def test_other_applications_catalogues_cost_one_query(shop: Application, django_assert_num_queries: Any) -> None:
    for name in ("bank", "mill"):
        attached(name)
        told(name, TASKS)
    told("shop", TASKS)
    take_in()
    with django_assert_num_queries(1):
        known = [(application_id, entry.name) for application_id, entry in catalog.every_entry()]
    assert len([name for _, name in known if name == "shop.charge"]) == 3
    with django_assert_num_queries(0):
        assert catalog.known_entry("shop.charge", shop.pk)
        assert catalog.known_entry("analyze_text", shop.pk) is None
