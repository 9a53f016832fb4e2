"""The pages of dead letters: groups, one group, replaying and discarding with a question before it."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import DeadLetter, ReplayRun, Task
from tasks_app.states import Status
from tasks_app.tracking.apply import apply
from tasks_app.tracking.stream import Event

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def person() -> Client:
    user = User.objects.create_user("olga", password="a long enough one")
    user.groups.add(Group.objects.get(name="operator"))
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    return client


def dead(count: int = 1, error: str = "ValueError", message: str = "no such account") -> list[UUID]:
    ids = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 1}, count=count), Origin(source="api")).ids
    apply(
        [
            Event(
                task_id=str(id_),
                status=Status.FAILURE,
                at=time.time(),
                worker="w1",
                started_at=time.time(),
                error_type=error,
                error_message=message,
                result='{"exc_type": "X"}',
            )
            for id_ in ids
        ]
    )
    return ids


def group() -> str:
    return DeadLetter.objects.values_list("fingerprint", flat=True)[0]


def test_without_any_the_page_says_what_would_be_here(person: Client) -> None:
    assert "No task has given up" in person.get("/dead-letters/").content.decode()


def test_groups_are_counted_and_filtered(person: Client) -> None:
    dead(3)
    dead(1, error="OSError", message="disk full")
    text = person.get("/dead-letters/").content.decode()
    assert "ValueError" in text
    assert "OSError" in text
    assert "Replay 4" in text
    only = person.get("/dead-letters/?error=OSError").content.decode()
    assert "no such account" not in only
    assert "Replay 1" in only
    assert "Nothing matches the filter" in person.get("/dead-letters/?task=nothing").content.decode()


def test_the_pages_take_few_queries_however_many_letters(person: Client, django_assert_max_num_queries: Any) -> None:
    for count in (1, 30):
        dead(count)
        for path in ("/dead-letters/", f"/dead-letters/{group()}/"):
            with django_assert_max_num_queries(12):
                assert person.get(path).status_code == 200


def test_a_group_is_replayed_with_a_changed_argument(person: Client) -> None:
    ids = dead(2)
    asked = person.get(f"/dead-letters/replay/?all=1&group={group()}").content.decode()
    assert "2 dead letters are sent again" in asked
    body = {"all": "1", "group": group(), "kwargs": '{"seconds": 2}'}
    assert "2 replayed" in person.post("/dead-letters/replay/", body, follow=True).content.decode()
    assert [task.kwargs for task in Task.objects.filter(replay_of__in=ids)] == [{"seconds": 2}] * 2


def test_a_few_first_makes_a_run_that_can_be_stopped(person: Client) -> None:
    dead(3)
    person.post("/dead-letters/replay/", {"all": "1", "first": "1"})
    run = ReplayRun.objects.get()
    assert (run.first, run.total) == (1, 3)
    assert (
        "has to" in person.get("/dead-letters/").content.decode() or "has sent" in person.get("/dead-letters/").content.decode()
    )
    person.post(f"/dead-letters/runs/{run.id}/stop/")
    run.refresh_from_db()
    assert run.state == "STOPPED"


@pytest.mark.parametrize("kwargs", ["[1]", "{", '{"seconds": "soon"}', '{"unknown": 1}'])
def test_arguments_that_cannot_be_are_refused_beside_the_field_and_send_nothing(person: Client, kwargs: str) -> None:
    dead(1)
    response = person.post("/dead-letters/replay/", {"all": "1", "kwargs": kwargs})
    assert response.status_code == 422
    assert "field-error" in response.content.decode()
    assert DeadLetter.objects.get().state == "OPEN"


def test_selected_letters_are_discarded_with_a_note(person: Client) -> None:
    ids = dead(3)
    person.post("/dead-letters/discard/", {"id": [str(ids[0]), str(ids[1])], "note": "Known."})
    assert DeadLetter.objects.filter(state="DISCARDED", note="Known.").count() == 2


def test_a_selection_of_nothing_means_none_of_them(person: Client) -> None:
    dead(2)
    person.post("/dead-letters/discard/", {})
    assert DeadLetter.objects.filter(state="OPEN").count() == 2


def test_groups_and_letters_are_saved_as_files(person: Client) -> None:
    dead(2)
    assert "ValueError" in person.get("/dead-letters/?format=csv").getvalue().decode()
    assert person.get(f"/dead-letters/{group()}/?format=json").getvalue().decode().count("task_id") == 2


def test_an_unknown_group_is_404(person: Client) -> None:
    assert person.get("/dead-letters/nothing/").status_code == 404
