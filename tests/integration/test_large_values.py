"""Values of megabytes: pages and lists show the beginning and lead to the whole, and no cut tells a secret."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app.models import Attempt, DeadLetter, Task
from tasks_app.recording.apply import apply
from tests.integration.conftest import ApiClient
from tests.integration.test_api_tasks import FIELDS, make
from zenith_site.common.previews import EDITED, SHOWN, SHOWN_ALONE
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db

SECRET = "hunter2" * 100
#: The end of what is shown falls into the password, and the `@` behind it is cut away.
TEXT = "x" * (SHOWN - 300) + f" amqp://ann:{SECRET}@host {{'password': '{SECRET}'}} " + "y" * 1_600_000 + " END"
#: What a page takes that shows nothing large; pages are about so long.
SMALL = 150_000


def ended(status: Status, **more: Any) -> Task:
    """A task with a large argument, and with an outcome."""
    task = make(name="foreign", args=[TEXT, {"token": SECRET}], kwargs={"rows": [{"id": number} for number in range(20_000)]})
    now = time.time()
    apply([Event(task_id=str(task.id), status=status, at=now, worker="w1@h", received_at=now, started_at=now, **more)])
    return Task.objects.get(id=task.id)


@pytest.fixture
def succeeded(db: None) -> Task:
    return ended(Status.SUCCESS, result=json.dumps({"text": TEXT, "more": 1}))


@pytest.fixture
def failed(db: None) -> Task:
    lines = "".join(f'  File "/srv/app/a.py", line {number}, in f{number}\n    call()\n' for number in range(3000))
    return ended(
        Status.FAILURE, error_type="E", error_message=TEXT[:20_000],
        traceback=f"Traceback (most recent call last):\n{lines}E: password={SECRET} END\n",
    )  # fmt: skip


@pytest.fixture
def person(member: User) -> Client:
    member.groups.add(Group.objects.get(name="operator"))
    client = Client(headers={"Accept": "text/html"})
    client.force_login(member)
    return client


def body(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    assert "no-store" in answer["Cache-Control"]
    text = answer.getvalue().decode() if answer.streaming else answer.text
    assert "hunter" not in text
    return str(text)


def test_a_tasks_page_shows_the_beginning_and_leads_to_the_whole(person: Client, succeeded: Task, failed: Task) -> None:
    for task, values in ((succeeded, ("arguments", "result")), (failed, ("arguments", "error", "traceback-0-1-0"))):
        page = body(person.get(f"/tasks/{task.id}/"))
        assert len(page) < SMALL
        assert "too large for a command line" in page
        for value in values:
            path = reverse("tasks:value", args=[task.id, value])
            assert f'href="{path}"' in page
            assert f'href="{path}?download"' in page
            whole = body(person.get(path))
            assert len(whole) < SHOWN_ALONE + SMALL
            file = person.get(path, {"download": ""})
            assert file["Content-Disposition"].startswith("attachment")
            assert "END" in body(file) or value == "error"
        fragments = body(person.get(f"/tasks/{task.id}/", headers={"HX-Request": "true"}))
        assert len(fragments) < SMALL
    assert json.loads(body(person.get(f"/tasks/{succeeded.id}/values/result/?download")))["more"] == 1
    assert json.loads(body(person.get(f"/tasks/{succeeded.id}/values/arguments/?download")))["args"][1] == {"token": "***"}


@pytest.mark.parametrize("value", ["nothing", "error", "traceback", "traceback-0-9-9", "traceback-0-1-0"])
def test_a_value_that_there_is_not_is_not_found(person: Client, api: ApiClient, succeeded: Task, value: str) -> None:
    assert person.get(f"/tasks/{succeeded.id}/values/{value}/").status_code == 404
    assert api("read").get(f"/api/v1/tasks/{succeeded.id}/values/{value}").status_code == 404


def test_a_task_that_failed_again_and_again_shows_its_newest_tracebacks(person: Client) -> None:
    task = make(status=Status.FAILURE, finished_at=timezone.now(), started_at=timezone.now(), received_at=timezone.now())
    for number in range(1, 60):
        Attempt.objects.create(
            task=task, attempt=number, outcome="RETRY", error_type="E", error_message="m" * 10_000, finished_at=timezone.now(),
            traceback=f"Traceback\n{'z' * 80_000}\nE: {number}\n",
        )  # fmt: skip
    page = body(person.get(f"/tasks/{task.id}/"))
    assert len(page) < 4 * SMALL
    assert page.count(">traceback</a>") == 49
    assert "E: 1\n" in body(person.get(f"/tasks/{task.id}/values/traceback-0-1-0/?download"))


@pytest.mark.parametrize("path", ["/tasks/all", "/api/v1/tasks"])
def test_lists_say_what_was_cut_and_where_the_whole_is(api: ApiClient, succeeded: Task, failed: Task, path: str) -> None:
    small = make(args=["small"])
    text = body(api("read").get(path))
    assert len(text) < 8 * SHOWN
    rows = {row["task_id"]: row for row in json.loads(text)}
    assert rows[str(small.id)]["data"] == "small"
    assert "cut" not in rows[str(small.id)]
    assert set(rows[str(succeeded.id)]["cut"]) == {"data", "result"}
    assert set(rows[str(failed.id)]["cut"]) == {"data", "error"}
    assert rows[str(succeeded.id)]["data"].startswith("xxx")
    whole = json.loads(body(api("read").get(rows[str(succeeded.id)]["cut"]["data"])))
    assert whole[0].endswith("END")
    assert whole[1] == {"token": "***"}
    assert json.loads(body(api("read").get(rows[str(succeeded.id)]["cut"]["result"])))["more"] == 1
    assert json.loads(body(api("read").get(rows[str(failed.id)]["cut"]["error"]))).startswith("E: xxx")


def test_a_list_reads_only_the_beginnings(api: ApiClient, succeeded: Task) -> None:
    with CaptureQueriesContext(connection) as queries:
        api("read").get("/api/v1/tasks")
    read = [query["sql"] for query in queries if "args" in query["sql"] or '"result"' in query["sql"]]
    assert len(read) == 2
    assert all("LEFT(" in sql and '"tasks_app_task"."args",' not in sql for sql in read)


def test_a_task_alone_comes_whole_up_to_a_million_characters(api: ApiClient) -> None:
    task, larger = make(args=["a" * 900_000]), make(args=["a" * 1_300_000], kwargs={"n": 1})
    for path in ("/task-status/", "/api/v1/tasks/"):
        answer = api("read").get(f"{path}{task.id}").json()
        assert (len(answer["data"]), "cut" in answer) == (900_000, False)
        answer = api("read").get(f"{path}{larger.id}").json()
        assert SHOWN_ALONE - 10 < len(answer["data"]) < SHOWN_ALONE + 2
        assert answer["cut"]["data"] == f"/api/v1/tasks/{larger.id}/values/args"
    assert list(api("read").get(f"/task-status/{task.id}").json()) == FIELDS
    assert set(answer["cut"]) == {"data", "args"}
    assert answer["kwargs"] == {"n": 1}


def test_the_runs_of_a_task_share_a_million_characters(api: ApiClient) -> None:
    task = make(status=Status.FAILURE, finished_at=timezone.now())
    for number in range(1, 25):
        Attempt.objects.create(
            task=task, attempt=number, outcome="RETRY", finished_at=timezone.now(), traceback=f"{'z' * 100_000} E: {number}"
        )
    answer = body(api("read").get(f"/api/v1/tasks/{task.id}"))
    assert len(answer) < SHOWN_ALONE + 2 * SMALL
    runs = json.loads(answer)["runs"]
    assert [("cut" in run, run["traceback"][-5:].strip()) for run in runs[::23]] == [(False, "E: 24"), (True, "E: 1")]
    assert body(api("read").get(runs[-1]["cut"]["traceback"])).endswith('E: 1"')


def test_dead_letters_and_files_are_bounded_too(api: ApiClient, person: Client, failed: Task, succeeded: Task) -> None:
    (row,) = json.loads(body(api("read").get("/api/v1/dead-letters")))
    assert len(row["error_message"]) <= SHOWN + 1
    assert set(row["cut"]) == {"error_message"}
    detail = body(api("read").get(f"/api/v1/dead-letters/{failed.id}"))
    assert len(detail) < 2 * SHOWN_ALONE
    assert set(json.loads(detail)["cut"]) == {"args"}
    letter = DeadLetter.objects.get()
    for path in (f"/dead-letters/{letter.fingerprint}/", "/dead-letters/", "/tasks/", "/", "/events/"):
        assert len(body(person.get(path))) < 2 * SMALL, path
    csv = body(person.get("/tasks/", {"format": "csv"}))
    assert len(csv) < 8 * SHOWN
    assert csv.splitlines()[0].endswith(",data,result,cut")
    assert {row["cut"] for row in json.loads(body(person.get("/tasks/", {"format": "json"})))} == {"error data", "data result"}


def test_forms_leave_out_what_is_too_large_for_them(person: Client) -> None:
    task = make(args=["a" * (EDITED + 1)])
    page = body(person.get("/dispatch/", {"like": str(task.id)}))
    assert len(page) < SMALL
    assert "too large for a form: data" in page
    held = make(
        args=["a" * (EDITED + 1)],
        kwargs={"n": 1},
        status=Status.SCHEDULED,
        not_before=timezone.now() + timedelta(hours=1),
        priority=3,
    )
    page = body(person.get(f"/tasks/{held.id}/edit/"))
    assert len(page) < SMALL
    assert "too large to be changed here" in page
    person.post(f"/tasks/{held.id}/edit/", {"queue": "other", "priority": "3", "kwargs": '{"n": 1}', "not_before": ""})
    assert Task.objects.get(id=held.id).args == held.args


def test_the_admin_shows_the_beginning(admin: User, failed: Task, succeeded: Task) -> None:
    client = Client()
    client.force_login(admin)
    rows = [failed, succeeded, *Attempt.objects.all(), *TaskResult.objects.all()]
    assert len(rows) == 5
    for row in rows:
        page = client.get(reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk]))
        assert len(body(page)) < SMALL
