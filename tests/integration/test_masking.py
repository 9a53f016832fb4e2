"""No surface shows a secret: not the API, not the pages, not their sockets, not the admin, not the commands."""

from __future__ import annotations

import json
import time
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django_celery_results.models import TaskResult

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Attempt, DeadLetter, ReplayRun, Task, TaskEvent
from tasks_app.recording.apply import apply
from tests.integration.conftest import ApiClient
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SECRET = "hunter2-never-shown"
HARMLESS = "harmless-and-shown"
TOLD = f"cannot log in with password={SECRET} at {HARMLESS}"
LOG = f'POST https://x/cb?token={SECRET}&n=1 {{"password": ["{SECRET}"]}}'
TRACEBACK = f'Traceback (most recent call last):\n  File "/app/run.py", line 3, in run\n    raise X\nX: {TOLD}\n'


def task(name: str = "tests.sample_tasks.log_in") -> str:
    """Dispatch a task with secrets in its arguments, by position and by name."""
    kwargs = {"options": {"api_key": SECRET, "region": HARMLESS}, "token": SECRET, "broker": f"amqp://user:{SECRET}@host"}
    created = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}), Origin(source="api"))
    Task.objects.filter(id=created.ids[0]).update(name=name, args=[{"password": SECRET, "user": HARMLESS}], kwargs=kwargs)
    return str(created.ids[0])


def end(task_id: str, status: Status, **more: Any) -> None:
    apply([Event(task_id=task_id, status=status, at=time.time(), worker="w1", started_at=time.time(), **more)])


@pytest.fixture
def succeeded(db: None) -> str:
    task_id = task()
    end(task_id, Status.SUCCESS, result=json.dumps({"session": {"access_token": SECRET}, "log": LOG, "greeting": HARMLESS}))
    return task_id


@pytest.fixture
def failed(db: None) -> str:
    task_id = task()
    end(
        task_id, Status.FAILURE, error_type="X", error_message=TOLD, traceback=TRACEBACK,
        result=json.dumps({"exc_type": "X", "exc_message": [TOLD], "exc_module": "app"}),
    )  # fmt: skip
    return task_id


@pytest.fixture
def person(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


def check(text: str, *, shows: bool = True) -> None:
    assert SECRET not in text
    assert (HARMLESS in text) is shows


@pytest.mark.parametrize("path", ["/tasks/all", "/task-status/{failed}", "/task-status/{succeeded}", "/api/v1/dead-letters",
                                  "/api/v1/dead-letters/groups", "/api/v1/dead-letters/{failed}", "/api/v1/tasks",
                                  "/api/v1/tasks/{failed}", "/api/v1/tasks/{succeeded}"])  # fmt: skip
def test_the_api(api: ApiClient, succeeded: str, failed: str, path: str) -> None:
    answer = api("read").get(path.format(succeeded=succeeded, failed=failed))
    assert answer.status_code == 200
    check(answer.text)


def test_what_the_api_shows_keeps_its_shape(api: ApiClient, succeeded: str) -> None:
    shown = api("read").get(f"/task-status/{succeeded}").json()
    assert shown["data"] == {"password": "***", "user": HARMLESS}
    assert shown["result"] == {
        "session": {"access_token": "***"}, "log": 'POST https://x/cb?token=***&n=1 {"password": ***}', "greeting": HARMLESS,
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/tasks/{failed}/", "/tasks/{succeeded}/"])
def test_the_pages(person: Client, succeeded: str, failed: str, path: str) -> None:
    answer = person.get(path.format(succeeded=succeeded, failed=failed))
    assert answer.status_code == 200
    check(answer.text)


@pytest.mark.django_db(transaction=True)
def test_what_is_pushed_to_the_page(failed: str) -> None:
    from django.template.loader import render_to_string

    from tasks_app.web.context import overview_context

    check(render_to_string("overview/_frame.html", overview_context()))


def test_the_admin(person: Client, succeeded: str, failed: str) -> None:
    ReplayRun.objects.create(
        newest=0, kwargs={"password": SECRET, "user": HARMLESS}, source="api", total=0,
        next_at=Task.objects.get(id=failed).created_at, created_at=Task.objects.get(id=failed).created_at,
    )  # fmt: skip
    rows: list[Any] = [
        *Task.objects.all(), *TaskResult.objects.all(), *Attempt.objects.all(), *DeadLetter.objects.all(),
        *ReplayRun.objects.all(), TaskEvent.objects.get(task=failed, status=Status.FAILURE),
    ]  # fmt: skip
    assert len(rows) == 8
    for row in rows:
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}"
        page = person.get(reverse(f"{name}_change", args=[row.pk]))
        assert page.status_code == 200
        check(page.text)
        check(person.get(reverse(f"{name}_changelist")).text, shows=isinstance(row, DeadLetter))


def test_a_stored_result_cannot_be_saved_from_the_admin(person: Client, succeeded: str) -> None:
    row = TaskResult.objects.get(task_id=succeeded)
    page = reverse("admin:django_celery_results_taskresult_change", args=[row.pk])
    assert person.post(page, {"status": "FAILURE"}).status_code == 403
    assert SECRET in TaskResult.objects.get(task_id=succeeded).result


def test_the_command(succeeded: str, failed: str) -> None:
    for options in ([], ["--json"]):
        out = StringIO()
        call_command("tasks", *options, stdout=out)
        check(out.getvalue())


def test_an_argument_by_position_is_hidden_for_its_parameters_name(api: ApiClient, db: None, settings: Any) -> None:
    settings.ZENITH_MASK_KEYS = ["data"]
    (task_id,) = dispatch(Dispatch(task="analyze_text", data=SECRET), Origin(source="api")).ids
    shown = api("read").get(f"/task-status/{task_id}").json()
    assert shown["data"] == "***"
    assert Task.objects.get(id=task_id).args == [SECRET], "the worker gets what was sent"


# --- What is stored ---


def stored(task_id: str) -> str:
    row, result = Task.objects.get(id=task_id), TaskResult.objects.get(task_id=task_id)
    parts = [row.error_message, result.result, result.traceback]
    parts += [text for attempt in Attempt.objects.filter(task=row) for text in (attempt.error_message, attempt.traceback)]
    parts += TaskEvent.objects.filter(task=row).values_list("message", flat=True)
    parts += DeadLetter.objects.filter(task=row).values_list("message", flat=True)
    return "\n".join(filter(None, parts))


def test_by_default_outcomes_are_stored_as_they_are(succeeded: str, failed: str) -> None:
    assert SECRET in stored(succeeded)
    assert SECRET in stored(failed)


def test_outcomes_are_stored_without_secrets_where_that_is_asked_for(settings: Any, db: None) -> None:
    settings.ZENITH_MASK_STORED = True
    for task_id, status, more in (
        (task(), Status.SUCCESS, {"result": json.dumps({"access_token": SECRET, "log": LOG, "greeting": HARMLESS})}),
        (task(), Status.FAILURE, {
            "error_type": "X", "error_message": TOLD, "traceback": TRACEBACK,
            "result": json.dumps({"exc_message": [TOLD, {"password": SECRET}]}),
        }),
        (task(), Status.RETRY, {"error_type": "X", "error_message": TOLD, "traceback": TRACEBACK}),
    ):  # fmt: skip
        end(task_id, status, **more)
        if status != Status.RETRY:
            check(stored(task_id))
            json.loads(TaskResult.objects.get(task_id=task_id).result)
        tracebacks = Attempt.objects.filter(task=task_id).values_list("traceback", flat=True)
        check("".join(tracebacks), shows=status != Status.SUCCESS)
        # Retries and replays send them again.
        assert Task.objects.get(id=task_id).kwargs["token"] == SECRET


def test_the_mask_is_not_sent_back_in_place_of_the_secret(api: ApiClient, failed: str) -> None:
    body = {"ids": [failed], "args": [{"password": "***", "user": "ann"}], "kwargs": {"token": "***", "user": "***"}}
    answer = api("operate").post("/api/v1/dead-letters/replay", data=json.dumps(body), content_type="application/json")
    assert answer.status_code == 422
    assert [culprit["pointer"] for culprit in answer.json()["errors"]] == ["/kwargs/token", "/args/0/password"]
    assert Task.objects.count() == 1
