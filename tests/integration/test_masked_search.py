"""Nobody who may only look finds out by searching what pages hide: not from tasks, counts or ends of pages, nor in the admin."""

from __future__ import annotations

import string
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app.models import DeadLetter, Task
from tasks_app.queries.tasks import TaskFilter
from tasks_app.recording.apply import apply
from tasks_app.search import index_scan, planner
from tests.integration.conftest import ApiClient
from tests.integration.test_api_tasks import make
from zenith_site.common.admin import ClosedLookups
from zenith_site.common.errors import InvalidQueryError
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db

SECRET = "hunter2"
TOLD = f"login failed: password={SECRET} at db1"


def failed(message: str = TOLD, **more: Any) -> Task:
    return make(status=Status.FAILURE, finished_at=timezone.now(), error_type="E", error_message=message, **more)


def found(q: str, **more: Any) -> set[Any]:
    return {item.task.id for item in TaskFilter(q=q).page(**more).tasks}


def refusal(q: str) -> str:
    with pytest.raises(InvalidQueryError) as caught:
        TaskFilter(q=q).page()
    return str(caught.value)


@pytest.fixture
def viewer(member: User) -> Client:
    member.groups.add(Group.objects.get(name="viewer"))
    client = Client(headers={"Accept": "text/html"})
    client.force_login(member)
    return client


def guesses(before: str) -> list[str]:
    return [before + letter for letter in string.ascii_lowercase + string.digits]


@pytest.mark.parametrize("term", ["error:{}", "{}", "-error:{} status:FAILURE", "-{} status:FAILURE", "error:password={}"])
def test_a_secret_cannot_be_guessed_letter_by_letter(term: str) -> None:
    failed()
    failed("disk full")
    for known in ("=", "h", "hunter"):
        answers = {frozenset(found(term.format(guess))) for guess in guesses(known)}
        assert len(answers) == 1, "every guess gets the same answer"


def test_text_is_searched_as_it_is_shown() -> None:
    task, other = failed(), failed("disk full")
    for q in ("error:login", "error:DB1", '"password=*** at db1"', 'error:"E: login"', "error:=*", "error:***", "password db1"):
        assert found(q) == {task.id}, q
    assert found("-error:***") == {other.id}
    assert found("-db1") == {other.id}
    assert found(f"-error:{SECRET}") == {task.id, other.id}


def test_a_word_that_a_worker_has_finds_its_tasks_also_where_an_error_hides_it() -> None:
    task, other = failed(worker=f"{SECRET}@host"), failed(worker="w1@host")
    assert found(SECRET) == {task.id}
    assert found(f"-{SECRET}") == {other.id}
    assert found(str(other.id)) == {other.id}


def test_who_may_operate_searches_what_is_stored(api: ApiClient, viewer: Client, member: User) -> None:
    failed(kwargs={"password": SECRET})
    for q in (f"error:{SECRET}", f"args.password:{SECRET}"):
        assert len(found(q, unmasked=True)) == 1
        assert len(api("read", "operate").get("/api/v1/tasks", {"q": q}).json()) == 1
        assert len(api("read", "operate").get("/tasks/all", {"q": q}).json()) == 1
    for path in ("/api/v1/tasks", "/tasks/all"):
        assert api("read").get(path, {"q": f"error:{SECRET}"}).json() == [], "a token's scopes count"
        answer = api("read").get(path, {"q": f"args.password:{SECRET}"})
        assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "q")
        assert "'password' are hidden as secrets" in answer.json()["errors"][0]["detail"]
    page = viewer.get("/tasks/", {"q": f"args.password:{SECRET}"}).text
    assert "hidden as secrets" in page
    assert "db1" not in page
    assert "1 task" not in viewer.get("/tasks/", {"q": f"error:{SECRET}"}).text
    for kind in ("csv", "json"):
        assert "db1" not in b"".join(viewer.get("/tasks/", {"q": f"error:{SECRET}", "format": kind})).decode()  # type: ignore[arg-type]
    member.groups.set([Group.objects.get(name="operator")])
    assert "db1" in viewer.get("/tasks/", {"q": f"args.password:{SECRET}"}).text


@pytest.mark.parametrize(
    "q",
    [
        "args.password:x", "-args.password:x", "args.options.api_key:x", "args.0.clientSecret:x", "args.credentials.user:ann",
        "args.X-API-Key:x", 'args.url:"amqp://ann:x@host"', 'args.log:"password=x"', 'args.options:"{\\"password\\": \\"x\\"}"',
        'args.command:"[\\"mysql\\", \\"--password\\", \\"x\\"]"',
    ],
)  # fmt: skip
def test_an_argument_that_is_hidden_cannot_be_asked_for(q: str) -> None:
    assert "only users who may operate" in refusal(q)
    TaskFilter(q=q).page(unmasked=True)


def test_names_that_are_configured_later_are_hidden_at_once(settings: Any) -> None:
    task = failed("iban=DE123 refused", kwargs={"iban": "DE123"})
    assert found("error:DE123") == found("args.iban:DE123") == {task.id}
    settings.ZENITH_MASK_KEYS = ["iban"]
    assert found("error:DE123") == set()
    assert "'iban'" in refusal("args.iban:DE123")


def test_an_argument_is_hidden_by_its_place_and_behind_an_option(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = {"status": Status.SUCCESS, "finished_at": timezone.now()}
    hidden, shown = make(args=[SECRET], **ended), make(name="foreign", args=[SECRET], **ended)
    settings.ZENITH_MASK_KEYS = ["data"]  # what analyze_text calls its argument
    assert found(f"args.0:{SECRET}") == {shown.id}
    assert found(f"args.0:{SECRET}", unmasked=True) == {shown.id, hidden.id}
    assert found(f"-args.0:{SECRET}") == {hidden.id}
    mysql = make(name="foreign", kwargs={"command": ["mysql", "--password", "x", "db"]}, **ended)
    for step in ("2", "-2", "+2", "02"):
        assert found(f"args.command.{step}:x") == set()
        assert found(f"args.command.{step}:x", unmasked=True) == {mysql.id}
    assert found("args.command.3:db") == found("args.command.0:mysql") == {mysql.id}


def shape(q: str) -> list[tuple[list[str], Any, bool]]:
    """Return the errors on each page of a search, where it ended, and whether it leads on."""
    chosen: TaskFilter | None = TaskFilter(q=q, limit=3)
    pages = []
    while chosen is not None:
        page = chosen.page()
        pages.append(([item.error or "" for item in page.tasks], page.searched_to, page.following is not None))
        chosen = page.following
        assert len(pages) < 100
    return pages


@pytest.mark.parametrize("more", ["", " name:analyze_text", " worker:w*", " queue:a queue:b"])
def test_where_pages_end_does_not_tell_either(monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    for module in (index_scan, planner):
        monkeypatch.setattr(module, "REACH", 10)
    monkeypatch.setattr(index_scan, "MIN_REACH", 1)
    monkeypatch.setattr(planner, "FIRST_REACH", 4)
    for number in range(40):
        text = f"here {number}" if number % 9 == 0 else f"{number}: password={SECRET if number % 3 else 'other'}"
        failed(text, queue="ab"[number % 2], worker=f"w{number % 3}@host", created_at=timezone.now() - timedelta(seconds=number))
    for q in ("error:{}", "{}", "-error:{}"):
        told, nothing = shape(q.format(SECRET) + more), shape(q.format("nothing-has-this") + more)
        assert told == nothing
    assert [error for page, *_ in shape(f"error:here{more}") for error in page] == [f"E: here {n}" for n in range(0, 40, 9)]
    assert shape(f"error:here -error:{SECRET}{more}") == shape(f"error:here{more}")


def test_how_many_tasks_have_a_value_in_a_hidden_place_does_not_tell(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ZENITH_MASK_KEYS = ["data"]
    for module in (index_scan, planner):
        monkeypatch.setattr(module, "REACH", 4)
    monkeypatch.setattr(planner, "FIRST_REACH", 2)
    monkeypatch.setattr(planner, "MAX_SOME", 3)
    monkeypatch.setattr(index_scan, "MIN_REACH", 1)
    for _ in range(12):
        make(args=[SECRET], status=Status.SUCCESS, finished_at=timezone.now())
    for name in ("0", "user"):
        assert shape(f"args.{name}:{SECRET}") == shape(f"args.{name}:nothing")


def test_a_fingerprint_is_not_made_of_a_secret() -> None:
    for secret in ("alpha", "beta"):
        task = make()
        event = Event(
            task_id=str(task.id), status=Status.FAILURE, at=time.time(), error_type="E", error_message=f"password={secret}"
        )
        apply([event])
    assert len(set(DeadLetter.objects.values_list("fingerprint", flat=True))) == 1


# --- The admin ---


@pytest.fixture
def staff(member: User) -> Client:
    """Somebody who may look at every row of the admin, and do nothing."""
    member.is_staff = True
    member.save()
    member.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client(headers={"Accept": "text/html"})
    client.force_login(member)
    return client


CLOSED = [model for model, admin in django_admin.site._registry.items() if isinstance(admin, ClosedLookups)]


def test_every_list_of_what_zenith_keeps_is_closed() -> None:
    ours = {model for model in django_admin.site._registry if model._meta.app_label not in ("auth",)}
    assert ours == set(CLOSED)


@pytest.mark.parametrize("model", CLOSED, ids=lambda model: model.__name__)
def test_the_admin_takes_no_column_that_its_list_does_not_offer(staff: Client, model: Any) -> None:
    page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    assert staff.get(page).status_code == 200
    filters = [item[0] if isinstance(item, tuple) else item for item in django_admin.site._registry[model].list_filter]
    offered = {"id", *filters}
    for field in model._meta.get_fields():
        if field.name in offered:
            continue
        for lookup in (field.name, f"{field.name}__contains", f"{field.name}__password__startswith", f"{field.name}__id__gt"):
            answer = staff.get(page, {lookup: "h"})
            assert answer.status_code == 400, lookup
    if "status" in filters:
        assert staff.get(page, {"status__exact": "FAILURE"}).status_code == 200


def test_the_admin_searches_and_sorts_by_nothing_that_is_hidden(staff: Client) -> None:
    TaskResult.objects.create(
        task_id="t1", task_name="n", task_args=f'"{SECRET}"', task_kwargs=f'"{SECRET}"', result=f'"{SECRET}"'
    )
    page = reverse("admin:django_celery_results_taskresult_changelist")
    assert "t1" in staff.get(page, {"q": "t1"}).text
    assert "t1" not in staff.get(page, {"q": "hunter"}).text
    for model in CLOSED:
        admin = django_admin.site._registry[model]
        hidden = {"message", "error_message", "traceback", "args", "kwargs", "task_args", "task_kwargs", "result", "meta", "hash"}
        sorts = {getattr(getattr(admin, name, None), "admin_order_field", name) for name in admin.list_display}  # type: ignore[arg-type]
        searches = {name.lstrip("=^@") for name in admin.search_fields}
        assert not hidden & {*sorts, *searches}, model
