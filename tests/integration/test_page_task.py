"""One task's page: the path, the timeline, tracebacks and relatives; and changing a task that is still held back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client

from infra_app import nodes
from infra_app.models import NodeEvent
from infra_app.states import OUT_OF_MEMORY, NodeStatus
from infra_app.validation import Deployment
from tasks_app import catalog
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.recording.apply import apply
from tests.hosts import host, observed
from zenith_site.models import AuditEntry
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

TRACEBACK = """Traceback (most recent call last):
  File "/srv/venv/lib/python3.11/site-packages/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
  File "/srv/app/bank.py", line 12, in pay
    raise CardError("declined")
CardError: declined
"""


def sent(**options: Any) -> UUID:
    values = {"task": "analyze_text", "data": ["x"], **options}
    return dispatch(Dispatch(**values), Origin(source="page", sent_by="ada")).ids[0]


def held(**options: Any) -> UUID:
    return sent(not_before=datetime.now(UTC) + timedelta(hours=3), **options)


def ran(task_id: UUID, status: Status, attempt: int = 0, **more: Any) -> None:
    now = time.time()
    times = {"at": now, "received_at": now - 3, "started_at": now - 2}
    if status != Status.SUCCESS:
        more = {"error_type": "CardError", "error_message": "declined", "traceback": TRACEBACK, **more}
    apply([Event(task_id=str(task_id), status=status, attempt=attempt, worker="w1", **times, **more)])


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def page(client: Client, task_id: UUID) -> str:
    return text(client, f"/tasks/{task_id}/")


def test_the_path_and_the_timeline_are_drawn_and_said(person: Client) -> None:
    task = sent()
    ran(task, Status.SUCCESS, result='{"words": 1}')
    html = page(person, task)
    assert "The path so far: Pending, Queued, Received, Started, Success" in html
    assert "to scale" in html
    assert "waiting in the queue" in html


def test_a_traceback_begins_with_the_own_frame_and_stands_there_once(person: Client) -> None:
    task = sent()
    ran(task, Status.RETRY)
    ran(task, Status.FAILURE, attempt=1)
    html = page(person, task)
    assert html.count("/srv/app/bank.py:12") == 1
    assert html.index("/srv/app/bank.py:12") < html.index("celery/app/trace.py:453")
    assert "same traceback as attempt 2" in html


def test_arguments_go_by_their_names_and_secrets_are_hidden(person: Client) -> None:
    task = sent()
    Task.objects.filter(id=task).update(kwargs={"password": "hunter2"})
    html = page(person, task)
    assert "hunter2" not in html
    assert '<span class="json-key">&quot;data&quot;</span>' in html


def test_the_batch_says_how_far_it_is_and_who_sent_it(person: Client) -> None:
    ids = dispatch(Dispatch(task="analyze_text", count=3), Origin(source="page", sent_by="ada")).ids
    ran(ids[0], Status.SUCCESS, result="1")
    html = page(person, ids[1])
    assert "1 of 3 done" in html
    assert "ada" in html


def test_a_task_and_those_that_it_sent_link_to_each_other(person: Client) -> None:
    parent = sent()
    first, *_, newest = children = [sent() for _ in range(21)]
    Task.objects.filter(id__in=children).update(parent_id=parent)
    html = page(person, parent)
    assert f'href="/tasks/{newest}/"' in html
    assert f'href="/tasks/{first}/"' not in html, "the twenty newest"
    assert f'href="/tasks/?q=parent:{parent}"' in html
    listed = text(person, f"/tasks/?q=parent:{parent}")
    assert all(str(child) in listed for child in children)
    assert f'href="/tasks/{parent}/"' in page(person, first)


def test_a_parent_that_is_not_known_is_named_all_the_same(person: Client) -> None:
    task, unknown_id = sent(), uuid4()
    Task.objects.filter(id=task).update(parent_id=unknown_id)
    html = page(person, task)
    assert f'title="{unknown_id}"' in html
    assert f"/tasks/{unknown_id}/" not in html


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RETRY, Status.FAILURE, Status.SUCCESS])
def test_the_page_takes_few_queries(person: Client, django_assert_max_num_queries: Any, status: Status) -> None:
    task = sent()
    if status != Status.QUEUED:
        ran(task, status, result="1")
    Task.objects.filter(id=sent()).update(parent_id=task)
    Task.objects.filter(id=task).update(parent_id=sent())
    # What workers told, which a process reads every few seconds and not for each page.
    catalog.catalogues_of(NATIVE_ID)
    with django_assert_max_num_queries(12):
        page(person, task)


# --- While it is held back ---


def test_a_scheduled_task_is_moved_and_the_page_says_by_whom(person: Client) -> None:
    task = held(queue="reports")
    form = text(person, f"/tasks/{task}/edit/")
    assert "reports" in form
    body = {"not_before": "2031-01-01T08:00:00", "queue": "mail", "priority": "3", "args": "[]", "kwargs": '{"data": "y"}'}
    answer = person.post(f"/tasks/{task}/edit/", body, follow=True)
    assert "Task changed." in answer.content.decode()
    row = Task.objects.get()
    assert (row.queue, row.priority, row.args, row.kwargs) == ("mail", 3, [], {"data": "y"})
    assert row.not_before == datetime(2031, 1, 1, 8, tzinfo=UTC)
    assert "by olga" in answer.content.decode()
    assert AuditEntry.objects.get(path=f"/tasks/{task}/edit/").detail["task"] == str(task)


def test_what_stays_as_it_was_is_not_touched_whatever_is_hidden_in_it(person: Client) -> None:
    task = held()
    Task.objects.update(kwargs={"password": "hunter2"}, args=[])
    form = person.get(f"/tasks/{task}/edit/").context["form"]
    body = {name: form[name].value() for name in ("queue", "args", "kwargs")}
    person.post(f"/tasks/{task}/edit/", {**body, "not_before": "2031-01-01T08:00:00"})
    assert Task.objects.get().kwargs == {"password": "hunter2"}
    assert Task.objects.get().not_before == datetime(2031, 1, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("kwargs", '{"colour": "red"}', "colour"), ("args", '{"no": "list"}', "must be a JSON list"), ("queue", "", "required"),
        ("kwargs", "[1]", "must be a JSON object"), ("not_before", "soon", "valid"), ("priority", "900", "less than or equal"),
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_is_said_beside_its_field(person: Client, field: str, value: str, reason: str) -> None:
    task = held()
    body = {"not_before": "2031-01-01T08:00:00", "queue": "default", "args": "[]", "kwargs": '{"data": "y"}', field: value}
    answer = person.post(f"/tasks/{task}/edit/", body)
    assert answer.status_code == 422
    assert reason in answer.content.decode()
    assert Task.objects.get().queue == "default"


def test_a_scheduled_task_is_sent_now(person: Client) -> None:
    task = held()
    assert "Send this task now?" in text(person, f"/tasks/{task}/now/")
    person.post(f"/tasks/{task}/now/")
    due = Task.objects.get().not_before
    assert due is not None
    assert due <= datetime.now(UTC)


@pytest.mark.parametrize("verb", ["edit", "now"])
def test_a_task_that_was_sent_cannot_be_changed(person: Client, verb: str) -> None:
    task = sent()
    for answer in (person.get(f"/tasks/{task}/{verb}/", follow=True), person.post(f"/tasks/{task}/{verb}/", follow=True)):
        assert "no longer scheduled" in answer.content.decode()
    assert f"/tasks/{task}/edit/" not in page(person, task)


@pytest.mark.parametrize("verb", ["edit", "now"])
def test_an_unknown_task_is_404(person: Client, verb: str) -> None:
    assert person.get(f"/tasks/{uuid4()}/{verb}/").status_code == 404


# --- The node that it ran on ---


def on_a_node(person: Client) -> tuple[Any, str]:
    """A node, and the path of a task that its worker runs."""
    group = nodes.deploy(Deployment(name="reports"), "ada")
    node = observed(group.nodes.get())
    task_id = sent()
    apply([Event(task_id=str(task_id), status=Status.STARTED, at=time.time(), worker=node.worker, received_at=time.time())])
    return node, f"/tasks/{task_id}/"


def test_the_page_names_the_node_whose_worker_runs_the_task(person: Client) -> None:
    host("zen-01")
    node, path = on_a_node(person)
    page = text(person, path)
    assert f'id="node-{node.id}"' in page
    assert "zen-01" in page
    assert "Its container exited" not in page


def test_a_task_that_died_with_its_container_shows_how_and_the_last_lines(person: Client) -> None:
    host("zen-01")
    node, path = on_a_node(person)
    NodeEvent.objects.create(node=node, kind=OUT_OF_MEMORY, message="out of memory (137)")
    observed(node, NodeStatus.STARTING, log_tail="loading 4 GB\npassword=s3cret")
    page = text(person, path)
    assert "Its container exited: out of memory (137)" in page
    assert "loading 4 GB\npassword=***" in page


def test_a_worker_that_runs_in_no_node_costs_no_query_more(person: Client, django_assert_max_num_queries: Any) -> None:
    task_id = sent()
    ran(task_id, Status.SUCCESS)
    with django_assert_max_num_queries(16):
        assert 'id="ran_on"' not in text(person, f"/tasks/{task_id}/")
