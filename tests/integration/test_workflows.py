"""Workflows: what is recorded of them in any order, their lists and pages, the API, cancelling, running a part again, pruning."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from celery import chord, group
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.rerun import run_again
from tasks_app.maintenance import expired
from tasks_app.models import Application, Task, Workflow
from tasks_app.models.task_keys import forget_applications
from tasks_app.recording.apply import apply
from tasks_app.workflows import listing
from tasks_app.workflows.listing import WorkflowFilter
from tasks_app.workflows.members import members, top_of
from tests.canvases import Message, sent, sig
from tests.integration.conftest import ApiClient
from tests.integration.test_dispatch import inside_of
from zenith_site.models import AuditEntry
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import TERMINAL, Status

pytestmark = pytest.mark.django_db(transaction=True)
START = 1_760_000_000.0
API = Origin(source="api")


def step(message: Message, status: Status = Status.QUEUED, at: float = START, **more: Any) -> Event:
    """A step as a worker reports it: the first ones with the message's extras."""
    if status in TERMINAL:
        more = {"started_at": at - 1, "worker": "w1", **more}
    return Event(
        task_id=message.id, status=status, at=at, name=message.name, queue="q", args=[], kwargs={}, extras=message.extras, **more
    )


def recorded(canvas: Any, statuses: dict[str, Status] | None = None, **options: Any) -> list[Message]:
    """Record the messages of a canvas as sent, or with the statuses that are given by name; return them."""
    messages = sent(canvas, **options)
    apply([step(message) for message in messages])
    ended = [step(message, status, START + 2) for message in messages if (status := (statuses or {}).get(message.name))]
    if ended:
        apply(ended)
    return messages


def follows(message: Message, name: str, id_: str, **more: Any) -> Message:
    """A task that another one sent."""
    return Message(id_, name, {"headers": {"root_id": message.id}, "embed": {}, **more})


def only_workflow() -> Workflow:
    """The one that is listed."""
    (listed,) = WorkflowFilter().page().workflows
    return Workflow.objects.get(id=listed.id)


def response_rows(client: Client, workflow: UUID) -> dict[str, list[str]]:
    """What a page's table names before each part, by the parts' names."""
    return {row.name: row.before for row in client.get(f"/workflows/{workflow}/").context["parts"].rows}


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return str(response.content.decode())


# --- What is recorded ---


def test_a_single_task_is_no_workflow() -> None:
    recorded(sig("a"), {"a": Status.SUCCESS})
    assert not Workflow.objects.exists()
    assert Task.objects.get().root_id is None


def test_the_parts_of_a_chord_of_chains_are_one_workflow_in_any_order_of_reports() -> None:
    messages = sent(chord([sig("a") | sig("b"), sig("c")], sig("d")))
    first = messages[0]
    chain = first.embed["chain"][0]["options"]
    group_headers = {"root_id": first.id, "group": chain["group_id"], "group_index": chain["group_index"]}
    second = Message(chain["task_id"], "b", {"headers": group_headers, "embed": {"chord": chain["chord"]}})
    body = Message(chain["chord"]["options"]["task_id"], "d", {"headers": {"root_id": first.id}, "embed": {}})
    events = [
        *map(step, messages), step(second, parent_id=first.id), step(body, parent_id=second.id),
        step(first, Status.SUCCESS, START + 1), step(second, Status.SUCCESS, START + 2), step(body, Status.STARTED, START + 3),
    ]  # fmt: skip
    answers = set()
    for order in random.Random(1).sample(list(itertools.permutations(range(len(events)))), 8):
        Task.objects.all().delete()
        Workflow.objects.all().delete()
        for index in order:
            apply([_again(events[index])])
        workflow = only_workflow()
        assert {top_of(id_) for id_ in Task.objects.values_list("id", flat=True)} == {workflow.id}
        read = members(workflow.id)
        assert read is not None
        answers.add((workflow.id, *sorted(task.name for task in read.tasks)))
    assert answers == {(key_of(chain["group_id"]), "a", "b", "c", "d")}


def _again(event: Event) -> Event:
    """A copy: applying an event changes it."""
    return Event(**{name: getattr(event, name) for name in Event.__slots__})


def test_a_chain_is_a_workflow_as_soon_as_its_first_step_is_sent() -> None:
    (first,) = recorded(sig("a") | sig("b"))
    assert only_workflow().id == key_of(first.id)
    apply([step(follows(first, "b", "later"), parent_id=first.id)])
    assert only_workflow().id == key_of(first.id)
    assert Task.objects.get(name="b").root_id == key_of(first.id)


def test_what_an_attached_application_sends_is_its_own_workflow() -> None:
    shop = Application.objects.create(name="shop", kind="attached")
    forget_applications()
    messages = sent(sig("a") | sig("b"))
    events = [step(message, application="shop") for message in messages]
    apply(events, {"": 1, "shop": shop.pk})
    workflow = Workflow.objects.get()
    assert (workflow.id, workflow.application_id) == (key_of(messages[0].id, "shop"), shop.pk)
    assert WorkflowFilter(application="shop").page().workflows[0].application == "shop"
    assert not WorkflowFilter(application="zenith").page().workflows
    assert not WorkflowFilter().limited_to({"zenith"}).page().workflows


def test_the_events_of_a_watched_application_tell_roots_and_parents() -> None:
    forum = Application.objects.create(name="forum", kind="watched")
    forget_applications()
    common = {"queue": "q", "application": "forum", "at": START, "status": Status.SUCCESS}
    apply(
        [
            Event(task_id="first", name="a", **common),
            Event(task_id="second", name="b", parent_id="first", root_id="first", **common),
        ],
        {"": 1, "forum": forum.pk},
    )
    read = members(only_workflow().id)
    assert read is not None
    assert [task.name for task in read.tasks] == ["a", "b"]
    assert read.application.is_watched


def test_what_a_task_dispatches_belongs_to_it() -> None:
    root = "00000000-0000-4000-8000-00000000000a"
    with inside_of("00000000-0000-4000-8000-00000000000b", root):
        done = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}, count=2), API)
    assert set(Task.objects.filter(id__in=done.ids).values_list("root_id", flat=True)) == {UUID(root)}
    assert only_workflow().id == UUID(root)


def test_what_is_run_again_belongs_to_the_same_workflow() -> None:
    (first,) = recorded(sig("drill_sleep", 0) | sig("drill_sleep", 1), {"drill_sleep": Status.FAILURE})
    new = run_again(key_of(first.id), API)
    again = Task.objects.get(id=new)
    assert (again.root_id, again.replay_of_id) == (key_of(first.id), key_of(first.id))
    (listed,) = WorkflowFilter().page().workflows
    assert (listed.total, listed.status) == (2, "RUNNING")
    Task.objects.filter(id=new).update(status=Status.SUCCESS, finished_at=timezone.now())
    assert WorkflowFilter().page().workflows[0].status == "SUCCEEDED"


def test_a_single_task_that_is_run_again_stays_none() -> None:
    (task,) = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}), API).ids
    Task.objects.update(status=Status.SUCCESS, finished_at=timezone.now())
    run_again(task, API)
    assert not Workflow.objects.exists()


def test_a_workflow_goes_with_its_last_task() -> None:
    recorded(group(sig("a"), sig("b")), {"a": Status.SUCCESS, "b": Status.SUCCESS})
    recorded(sig("c") | sig("d"))
    assert sum(expired.workflows(timedelta(days=1))) == 0
    assert sum(expired.tasks(timedelta(days=1))) == 2
    assert expired.count("workflows", timedelta(days=1)) == 1
    assert sum(expired.workflows(timedelta(days=1))) == 1
    assert only_workflow().id == Task.objects.get().id


# --- Lists ---


def test_the_list_is_newest_first_with_progress_and_goes_on_by_key() -> None:
    ids = []
    for number in range(5):
        messages = recorded(group(sig("a"), sig("b")), {"a": Status.SUCCESS})
        root = Task.objects.get(id=key_of(messages[0].id)).root_id
        Workflow.objects.filter(id=root).update(created_at=timezone.now() + timedelta(seconds=number))
        ids.append(root)
    page = WorkflowFilter(limit=2).page()
    assert [(item.id, item.name, item.finished, item.total) for item in page.workflows] == [
        (ids[4], "a", 1, 2), (ids[3], "a", 1, 2),
    ]  # fmt: skip
    listed: list[UUID] = []
    following: WorkflowFilter | None = WorkflowFilter(limit=2)
    while following:
        page = following.page()
        listed += [item.id for item in page.workflows]
        following = page.following
    assert listed == ids[::-1]


def test_the_list_filters_by_status_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    for status in (Status.SUCCESS, Status.FAILURE, Status.REVOKED, None):
        recorded(group(sig("a"), sig("b")), {"a": status, "b": status} if status else {})
    for status in ("SUCCEEDED", "FAILED", "CANCELLED", "RUNNING"):
        assert [item.status for item in WorkflowFilter(status=status).page().workflows] == [status]
    monkeypatch.setattr(listing, "SEARCHED", 2)
    found, following, pages = [], WorkflowFilter(status="SUCCEEDED"), 0
    while following:
        page = following.page()
        found += page.workflows
        following, pages = page.following, pages + 1
    assert (len(found), pages) == (1, 2)


@pytest.mark.parametrize("count", [1, 6])
def test_a_list_takes_two_queries_however_long_it_is(count: int, django_assert_num_queries: Any) -> None:
    for _ in range(count):
        recorded(group(sig("a"), sig("b") | sig("c")))
    with django_assert_num_queries(2):
        assert len(WorkflowFilter().page().workflows) == count


# --- Pages ---


def test_the_page_draws_what_runs_and_what_is_planned_and_says_it_in_a_table(person: Client) -> None:
    messages = recorded(chord([sig("a") | sig("b"), sig("c")], sig("d")), {"c": Status.SUCCESS})
    html = text(person, f"/workflows/{only_workflow().id}/")
    assert html.count('class="box"') == 4
    assert 'aria-label="c: success' in html
    assert 'aria-label="d: planned"' in html
    assert "1 of 4 parts done" in html
    assert {"b joins in it", "c joins in it"} <= set(response_rows(person, only_workflow().id)["d"])
    assert f"/tasks/{key_of(messages[0].id)}/" in html
    assert "Cancel the rest" in html


def test_a_tasks_page_leads_to_its_workflow_and_any_task_means_it(person: Client) -> None:
    first, _ = recorded(chord([sig("a"), sig("b")], sig("d")))
    workflow = only_workflow().id
    task = key_of(first.id)
    assert f"/workflows/{workflow}/" in text(person, f"/tasks/{task}/")
    assert person.get(f"/workflows/{task}/").headers["Location"] == f"/workflows/{workflow}/"
    assert person.get(f"/workflows/{UUID(int=7)}/").status_code == 404


def test_a_task_without_a_workflow_has_no_link(person: Client) -> None:
    (message,) = recorded(sig("a"))
    assert "/workflows/0" not in text(person, f"/tasks/{key_of(message.id)}/")
    assert person.get(f"/workflows/{key_of(message.id)}/").status_code == 404


def test_two_thousand_parts_are_one_box_that_opens(person: Client, django_assert_max_num_queries: Any) -> None:
    recorded(chord([sig("a") | sig("b") for _ in range(2000)], sig("d")), {"a": Status.FAILURE})
    path = f"/workflows/{only_workflow().id}/"
    with django_assert_max_num_queries(12):
        response = person.get(path)
    html = response.content.decode()
    assert len(response.content) < 300_000
    assert html.count('class="box"') == 3
    assert "a (2,000): 2,000 failure" in html
    assert "1,990 other parts failed" in html
    (key,) = {box.key for box in [row for row in response.context["parts"].rows if row.name == "a (2,000)"]}
    opened = person.get(path, {"part": key.removeprefix("part-")})
    assert opened.content.decode().count("/tasks/") >= 100
    assert len(opened.content) < 300_000
    more = opened.context["parts"]
    assert (len(more.rows), more.total) == (100, 2000)
    assert len(person.get(path + more.next_url).context["parts"].rows) == 100


def test_the_list_page_says_what_would_be_there_and_filters(person: Client) -> None:
    assert "No workflows yet" in text(person, "/workflows/?application=")
    recorded(sig("a") | sig("b"))
    html = text(person, "/workflows/?application=")
    assert ">a</a>" in html
    assert "Running" in html
    assert "filter" in text(person, "/workflows/?status=FAILED").lower()
    assert "invalid" in text(person, "/workflows/?status=odd")


def test_names_are_escaped_and_errors_masked(person: Client) -> None:
    (first,) = sent(sig("<script>alert(1)</script>") | sig("b"))
    apply([step(first)])
    apply([step(first, Status.FAILURE, START + 2, error_type="E", error_message="password=hunter2secret")])
    html = text(person, f"/workflows/{only_workflow().id}/")
    assert "<script>alert" not in html
    assert "hunter2secret" not in html


def test_a_watched_workflow_says_where_its_knowledge_ends(person: Client) -> None:
    forum = Application.objects.create(name="forum", kind="watched")
    forget_applications()
    event = Event(
        task_id="2", name="b", queue="q", parent_id="1", root_id="1", application="forum", at=START, status=Status.FAILURE
    )
    apply([event], {"": 1, "forum": forum.pk})
    html = text(person, f"/workflows/{only_workflow().id}/")
    assert "only watches this application" in html
    assert "Run it again" not in html


def test_tasks_that_call_each_other_their_root_have_pages(person: Client) -> None:
    one, two = Message("1", "a", {"headers": {"root_id": "2"}}), Message("2", "b", {"headers": {"root_id": "1"}})
    apply([step(one), step(two)])
    for id_ in ("1", "2"):
        assert "2 parts done" in text(person, f"/workflows/{key_of(id_)}/")
    assert not WorkflowFilter().page().workflows


# --- Actions ---


def test_the_rest_is_cancelled_after_a_question_with_the_count(person: Client) -> None:
    dispatched = _dispatched_family()
    workflow = only_workflow().id
    question = text(person, f"/workflows/{workflow}/cancel/")
    assert "Cancel 2 tasks" in question
    person.post(f"/workflows/{workflow}/cancel/")
    assert set(Task.objects.filter(id__in=dispatched).values_list("status", flat=True)) == {"REVOKED"}
    entry = AuditEntry.objects.latest("id")
    assert entry.detail["revoked"] == 2


def _dispatched_family() -> Sequence[UUID]:
    with inside_of("00000000-0000-4000-8000-00000000000b"):
        later = timezone.now() + timedelta(hours=1)
        return dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}, count=2, not_before=later), API).ids


def test_a_failed_step_offers_to_go_on_and_a_part_of_a_chord_only_to_run(person: Client) -> None:
    recorded(sig("a") | sig("b"), {"a": Status.FAILURE})
    html = text(person, f"/workflows/{only_workflow().id}/")
    assert "Run it again and continue" in html
    assert "1 part after it did not run" in html
    Workflow.objects.all().delete()
    recorded(chord([sig("a"), sig("b")], sig("c")), {"a": Status.FAILURE})
    html = text(person, f"/workflows/{only_workflow().id}/")
    assert "Run it again and continue" not in html
    assert "Run it again" in html


def test_who_may_not_operate_is_offered_nothing(db: None) -> None:
    user = User.objects.create_user("vera", password="a long enough one")
    user.groups.add(Group.objects.get(name="viewer"))
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    recorded(sig("a") | sig("b"), {"a": Status.FAILURE})
    html = text(client, f"/workflows/{only_workflow().id}/")
    assert "Run it again" not in html
    assert "Cancel the rest" not in html


# --- The API ---


def test_the_api_lists_and_shows_and_cancels(api: ApiClient) -> None:
    client = api("read", "dispatch", "operate")
    messages = recorded(chord([sig("a") | sig("b"), sig("c")], sig("d")), {"c": Status.SUCCESS})
    (listed,) = client.get("/api/v1/workflows").json()
    assert (listed["name"], listed["status"], listed["by_status"]) == ("a", "RUNNING", {"QUEUED": 1, "SUCCESS": 1})
    shown = client.get(f"/api/v1/workflows/{listed['workflow_id']}").json()
    assert (shown["total"], shown["planned"], shown["finished"], shown["complete"]) == (2, 2, 1, True)
    names = {part["key"]: part["name"] for part in shown["parts"]}
    assert {(names[edge["before"]], names[edge["after"]], edge["kind"]) for edge in shown["edges"]} == {
        ("a", "b", "next"), ("b", "d", "join"), ("c", "d", "join"),
    }  # fmt: skip
    assert client.get(f"/api/v1/workflows/{key_of(messages[0].id)}").json()["workflow_id"] == listed["workflow_id"]
    assert client.get(f"/api/v1/tasks/{messages[0].id}").json()["workflow_id"] == listed["workflow_id"]
    cancelled = client.post(f"/api/v1/workflows/{listed['workflow_id']}/cancel", {}, content_type="application/json").json()
    assert (cancelled["matched"], cancelled["revoked"]) == (1, 1)
    for path in ("x", UUID(int=7)):
        assert client.get(f"/api/v1/workflows/{path}").status_code == 404
    assert client.get("/api/v1/workflows?colour=red").status_code == 422
    assert client.get("/api/v1/workflows?status=odd").status_code == 422


def test_time_is_counted_from_now_while_a_part_runs(api: ApiClient) -> None:
    client = api("read")
    (first,) = sent(sig("a") | sig("b"))
    apply([step(first), step(first, Status.STARTED, time.time() - 60)])
    shown = client.get(f"/api/v1/workflows/{key_of(first.id)}").json()
    assert shown["critical_seconds"] >= 59
    assert shown["critical_path"] == [str(key_of(first.id))]
