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
from tasks_app.queries.arguments import LINE, TOO_LARGE
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


def test_results_are_not_read_for_a_list_that_shows_none(person: Client) -> None:
    sent(1)
    with CaptureQueriesContext(connection) as queries:
        page(person)
    assert not [query["sql"] for query in queries if "taskresult" in query["sql"]]


# --- Arguments and columns ---


def lines(client: Client, query: str = "") -> list[str]:
    return [item.line for item in client.get(f"/tasks/{query}").context["tasks"]]


def called_with(*args: Any, **kwargs: Any) -> None:
    (task_id,) = sent(1)
    Task.objects.filter(id=task_id).update(args=list(args), kwargs=kwargs)


def test_a_row_has_the_arguments_in_one_line_by_name(person: Client) -> None:
    called_with("two\nlines", 4711, format="a4")
    assert lines(person) == ['data="two\\nlines", 4711, format="a4"']


def test_secrets_in_a_row_are_masked(person: Client) -> None:
    called_with("postgres://u:hunter2@h/db", password="hunter2")
    (line,) = lines(person)
    assert "hunter2" not in line + page(person)
    assert "password=" in line


def test_long_arguments_are_cut_and_very_large_ones_not_read(person: Client) -> None:
    called_with("long " * 200)
    called_with([f"{number} is no repetition" for number in range(3000)])
    large, long = lines(person)
    assert large == TOO_LARGE
    assert long.endswith("…")
    assert len(long) <= LINE + 1


def test_a_task_without_arguments_has_an_empty_line(person: Client) -> None:
    called_with()
    assert lines(person) == [""]


def test_columns_are_chosen_in_the_address_and_stay_in_every_link(person: Client) -> None:
    sent(60)
    response = person.get("/tasks/?columns=priority&columns=runtime,nonsense")
    text = response.content.decode()
    assert [column.key for column in response.context["columns"]] == ["priority", "runtime"]
    assert "Arguments</th>" not in text
    links = [response.context["next_url"], *(tab["url"] for tab in response.context["tabs"])]
    assert all("columns=priority%2Cruntime" in link for link in links)
    assert '<input type="hidden" name="columns" value="priority,runtime">' in text


def test_unknown_columns_are_the_usual_ones(person: Client) -> None:
    sent(1)
    assert person.get("/tasks/?columns=nonsense").context["columns"] == person.get("/tasks/").context["columns"]


@pytest.mark.parametrize(
    ("query", "lit"),
    [
        ("", ["All"]),
        ("?q=status:FAILURE", ["Failure"]),
        ("?q=name:x* status:failure", ["Failure"]),
        ("?q=status:FAILURE status:SUCCESS", ["Failure", "Success"]),
        ("?status=FAILURE", ["Failure"]),
    ],
)
def test_the_tab_is_lit_whose_status_the_search_names(person: Client, query: str, lit: list[str]) -> None:
    tabs = person.get(f"/tasks/{query}").context["tabs"]
    assert [str(tab["label"]) for tab in tabs if tab["current"]] == lit


def test_a_tab_replaces_the_status_in_the_search(person: Client) -> None:
    sent(1)
    tabs = person.get("/tasks/?q=status:FAILURE -name:x*").context["tabs"]
    urls = {str(tab["label"]): tab["url"] for tab in tabs}
    assert urls["All"] == "?q=-name%3Ax%2A"
    assert urls["Queued"] == "?q=-name%3Ax%2A&status=QUEUED"


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
