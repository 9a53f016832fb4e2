"""The list of tasks: filters, pages, files, and actions on what is selected or on all that match."""

from __future__ import annotations

import csv
import json
import time
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app import catalog
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import DeadLetter, Task, TaskMessage
from tasks_app.recording.apply import apply
from tasks_app.search.sorting import COLUMNS
from zenith_site.models import AuditEntry
from zenith_worker.wire import heartbeat
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def person() -> Client:
    user = User.objects.create_user("olga", password="a long enough one")
    user.groups.add(Group.objects.get(name="operator"))
    client = Client()
    client.force_login(user)
    return client


def sent(count: int = 1, **options: Any) -> list[UUID]:
    return dispatch(Dispatch(task="analyze_text", data=["x"] * count, **options), Origin(source="api")).ids


def end(task_id: UUID, status: Status, **more: Any) -> None:
    apply([Event(task_id=str(task_id), status=status, at=time.time(), worker="w1", started_at=time.time(), **more)])


def page(client: Client, query: str = "") -> str:
    response = client.get(f"/tasks/{query}")
    assert response.status_code == 200
    return response.content.decode()


def saved(client: Client, query: str) -> str:
    return client.get(f"/tasks/{query}").getvalue().decode()


def test_an_empty_list_says_how_to_fill_it_and_a_filter_that_it_hides_rows(person: Client) -> None:
    assert "No tasks yet" in page(person)
    assert "Nothing matches the filter" in page(person, "?q=name:nothing")


def test_tabs_count_and_filter(person: Client) -> None:
    ids = sent(3)
    end(ids[0], Status.SUCCESS, result="1")
    text = page(person, "?status=SUCCESS")
    assert f"task-{ids[0]}" in text
    assert f"task-{ids[1]}" not in text
    assert "?status=QUEUED" in text


def test_a_search_that_cannot_be_understood_is_said_calmly(person: Client) -> None:
    text = page(person, "?q=colour:red")
    assert 'role="alert"' in text
    assert "colour" in text


def test_pages_go_on_by_key(person: Client) -> None:
    sent(60)
    first = person.get("/tasks/")
    following = first.context["next_url"]
    assert following
    second = person.get(f"/tasks/{following}")
    listed_ids = [item.task.id for response in (first, second) for item in response.context["tasks"]]
    assert len(listed_ids) == len(set(listed_ids)) == 60


def test_the_list_is_saved_as_a_file_without_secrets(person: Client) -> None:
    ids = sent(3)
    Task.objects.filter(id=ids[0]).update(kwargs={"password": "hunter2"}, args=[])
    rows = list(csv.DictReader(saved(person, "?format=csv").splitlines()))
    assert {row["id"] for row in rows} == {str(id_) for id_ in ids}
    text = saved(person, "?format=json&q=name:analyze*")
    assert len(json.loads(text)) == 3
    assert "hunter2" not in text


def test_the_page_takes_the_same_few_queries_however_many_rows(person: Client, django_assert_max_num_queries: Any) -> None:
    for count in (1, 50):
        sent(count)
        with django_assert_max_num_queries(10):
            page(person)


def test_arguments_and_results_are_not_read_for_a_list_that_shows_neither(person: Client) -> None:
    sent(1)
    with CaptureQueriesContext(connection) as queries:
        page(person)
    assert not [query["sql"] for query in queries if "kwargs" in query["sql"] or "taskresult" in query["sql"]]


def test_selected_tasks_are_cancelled_after_a_question_that_names_the_count(person: Client) -> None:
    ids = sent(3)
    query = "&".join(f"id={id_}" for id_ in ids[:2])
    question = person.get(f"/tasks/act/cancel/?{query}").content.decode()
    assert "Cancel 2 tasks" in question
    assert Task.objects.filter(status=Status.REVOKED).count() == 0
    response = person.post("/tasks/act/cancel/", {"id": [str(id_) for id_ in ids[:2]]}, follow=True)
    assert "2 cancelled." in response.content.decode()
    assert Task.objects.exclude(cancel_requested_at=None).count() == 2
    entry = AuditEntry.objects.get(path="/tasks/act/cancel/")
    assert entry.detail["tasks"] == 2


def test_all_that_match_are_cancelled(person: Client) -> None:
    sent(60)
    other = sent(1, queue="other")
    question = person.get("/tasks/act/cancel/?all=1&q=queue:default").content.decode()
    assert "Cancel 60 tasks" in question
    person.post("/tasks/act/cancel/", {"all": "1", "q": "queue:default"})
    assert Task.objects.filter(cancel_requested_at=None).values_list("id", flat=True).get() == other[0]


def test_ended_tasks_are_run_again_once(person: Client) -> None:
    ids = sent(2)
    end(ids[0], Status.SUCCESS, result="1")
    body = {"id": [str(id_) for id_ in ids]}
    assert "1 dispatched again." in person.post("/tasks/act/again/", body, follow=True).content.decode()
    assert "1 skipped: already run again before" in person.post("/tasks/act/again/", body, follow=True).content.decode()
    assert Task.objects.filter(replay_of=ids[0]).count() == 1


def test_dead_letters_of_the_selection_are_discarded(person: Client) -> None:
    ids = sent(2)
    end(ids[0], Status.FAILURE, error_type="X", error_message="no", result='{"exc_type": "X"}')
    person.post("/tasks/act/discard/", {"id": [str(id_) for id_ in ids]})
    assert DeadLetter.objects.get().state == "DISCARDED"


def test_an_opaque_dead_letter_of_the_selection_is_discarded_and_not_run_again(person: Client) -> None:
    [opaque] = sent(1)
    end(opaque, Status.FAILURE, error_type="X", error_message="no", result='{"exc_type": "X"}')
    TaskMessage.objects.update_or_create(task_id=opaque, defaults={"extras": {"opaque": True}})
    body = {"id": [str(opaque)]}
    assert person.post("/tasks/act/again/", body, follow=True).status_code == 200
    assert not Task.objects.exclude(replay_of=None)
    person.post("/tasks/act/discard/", body)
    assert DeadLetter.objects.get().state == "DISCARDED"


def test_nothing_selected_is_a_hint_and_no_error(person: Client) -> None:
    assert "has a status that allows this" in person.get("/tasks/act/cancel/", follow=True).content.decode()


@pytest.mark.parametrize(("verb", "query"), [("explode", ""), ("cancel", "?id=nonsense"), ("cancel", "?all=1&q=colour:red")])
def test_what_cannot_be_is_404(person: Client, verb: str, query: str) -> None:
    assert person.get(f"/tasks/act/{verb}/{query}").status_code == 404


def test_who_may_only_look_is_offered_no_actions() -> None:
    viewer = User.objects.create_user("vera", password="a long enough one")
    client = Client()
    client.force_login(viewer)
    sent(1)
    text = page(client)
    assert "data-select-bar" not in text
    assert "data-row-box" not in text


# --- Sorting ---


def ran_for(*seconds: float) -> list[UUID]:
    ids = sent(len(seconds))
    for id_, runtime in zip(ids, seconds, strict=True):
        end(id_, Status.SUCCESS, result="1", runtime=runtime)
    return ids


def listed(client: Client, query: str) -> list[UUID]:
    return [item.task.id for item in client.get(f"/tasks/{query}").context["tasks"]]


def test_a_column_sorts_both_ways_and_what_has_no_value_comes_last(person: Client) -> None:
    middle, long, short = ran_for(2.0, 9.0, 0.5)
    (open_,) = sent(1)
    assert listed(person, "?sort=-runtime") == [long, middle, short, open_]
    assert listed(person, "?sort=runtime") == [short, middle, long, open_]
    assert listed(person, "?sort=-created") == listed(person, "")
    assert 'aria-sort="descending"' in page(person, "?sort=-runtime")


@pytest.mark.parametrize("sort", [*COLUMNS, *(f"-{name}" for name in COLUMNS)])
def test_pages_go_on_in_every_order_and_show_each_task_once(person: Client, sort: str) -> None:
    ids = {*ran_for(*[1.0, 2.0] * 30), *sent(10, queue="other")}
    first = person.get(f"/tasks/?sort={sort}")
    second = person.get(f"/tasks/{first.context['next_url']}")
    listed_ids = [item.task.id for response in (first, second) for item in response.context["tasks"]]
    assert (len(listed_ids), set(listed_ids)) == (70, ids)


def test_only_the_newest_that_match_are_sorted_and_the_list_says_so(person: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.queries.tasks.SORTED_AMONG", 2)
    longest, _, _ = ran_for(9.0, 1.0, 2.0)
    response = person.get("/tasks/?sort=-runtime&q=name:analyze*")
    assert longest not in [item.task.id for item in response.context["tasks"]]
    assert "of the newest" in response.content.decode()


def test_an_order_stays_with_tabs_and_search_and_an_unknown_one_is_named(person: Client) -> None:
    ran_for(1.0)
    text = page(person, "?sort=-runtime&q=name:analyze*")
    assert '<input type="hidden" name="sort" value="-runtime">' in text
    assert "sort=-runtime&amp;status=SUCCESS" in text
    assert "there is no sort order" in page(person, "?sort=colour")


def test_a_sorted_page_takes_few_queries(person: Client, django_assert_max_num_queries: Any) -> None:
    ran_for(1.0, 2.0)
    # What workers told, which a process reads every few seconds and not for each page.
    catalog.entries()
    with django_assert_max_num_queries(12):
        page(person, "?sort=-runtime&q=name:analyze*")


def test_the_search_offers_the_queues_and_workers_that_there_are(person: Client) -> None:
    heartbeat.write("w7@here", slots=1, busy=0, queues=["reports"])
    text = page(person)
    assert '<option value="queue:reports">' in text
    assert '<option value="worker:w7@here">' in text
    assert '<option value="status:FAILURE">' in text
