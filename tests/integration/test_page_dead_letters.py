"""The pages of dead letters: groups, one group, replaying and discarding with a question before it."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Attempt, DeadLetter, ReplayRun, Task, TaskMessage
from tasks_app.recording.apply import apply
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)


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
    assert "<b>No dead letters</b>" in person.get("/dead-letters/").content.decode()


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


def test_the_letters_of_a_group_have_their_arguments(person: Client) -> None:
    dead(1)
    assert "seconds=1" in person.get(f"/dead-letters/{group()}/").content.decode()


def test_no_button_that_stands_out_decides_about_every_letter(person: Client) -> None:
    dead(4)
    for path in ("/dead-letters/", f"/dead-letters/{group()}/"):
        text = person.get(path).content.decode()
        assert "All 4 open" in text
        before_the_selection = text.split('id="selection"')[0]
        assert "button-primary" not in before_the_selection


def test_the_pages_take_few_queries_however_many_letters(person: Client, django_assert_max_num_queries: Any) -> None:
    for count in (1, 30):
        dead(count)
        for path in ("/dead-letters/", f"/dead-letters/{group()}/"):
            with django_assert_max_num_queries(12):
                assert person.get(path).status_code == 200


def test_a_group_is_replayed_with_a_changed_argument(person: Client) -> None:
    ids = dead(2)
    question = person.get(f"/dead-letters/replay/?all=1&group={group()}").content.decode()
    assert "2 dead letters are replayed" in question
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


def test_letters_whose_arguments_are_opaque_are_discarded_but_not_replayed(person: Client) -> None:
    [opaque, _] = dead(2)
    TaskMessage.objects.update_or_create(task_id=opaque, defaults={"extras": {"opaque": True}})
    selection = {"id": [str(opaque)]}
    assert "has arguments that can be sent again" in person.get("/dead-letters/replay/", selection, follow=True).content.decode()
    assert "Replay 1 dead letter" in person.get("/dead-letters/replay/", {"all": "1"}).content.decode()
    assert "Discard 1 dead letter" in person.get("/dead-letters/discard/", selection).content.decode()
    assert "Discard 2 dead letters" in person.get("/dead-letters/discard/", {"all": "1"}).content.decode()
    person.post("/dead-letters/discard/", selection)
    assert DeadLetter.objects.get(state="DISCARDED").task_id == opaque


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


def fingerprint_of(error: str) -> str:
    return DeadLetter.objects.filter(error_type=error).values_list("fingerprint", flat=True)[0]


def test_several_groups_are_replayed_at_once_and_the_others_stay(person: Client) -> None:
    dead(2)
    dead(1, error="OSError", message="disk full")
    dead(1, error="KeyError", message="customer")
    selection = {"group": [fingerprint_of("ValueError"), fingerprint_of("OSError")]}
    question = person.get("/dead-letters/replay/", selection).content.decode()
    assert "3 dead letters of 2 groups are replayed" in question
    assert "3 replayed" in person.post("/dead-letters/replay/", selection, follow=True).content.decode()
    assert DeadLetter.objects.get(state="OPEN").error_type == "KeyError"


def test_what_one_group_cannot_take_is_taken_by_none(person: Client) -> None:
    dead(1)
    dead(1, error="OSError", message="disk full")
    body = {"group": [fingerprint_of("ValueError"), fingerprint_of("OSError")], "kwargs": '{"seconds": "soon"}'}
    assert person.post("/dead-letters/replay/", body).status_code == 422
    assert DeadLetter.objects.filter(state="OPEN").count() == 2
    assert not Task.objects.filter(replay_of__isnull=False).exists()


def test_of_each_group_a_few_go_first(person: Client) -> None:
    dead(3)
    dead(3, error="OSError", message="disk full")
    body = {"group": [fingerprint_of("ValueError"), fingerprint_of("OSError")], "first": "1"}
    answer = person.post("/dead-letters/replay/", body, follow=True).content.decode()
    assert "6 are being replayed." in answer
    assert sorted(ReplayRun.objects.values_list("first", "total")) == [(1, 3), (1, 3)]
    assert "Bulk replays" in answer


def test_several_groups_are_discarded(person: Client) -> None:
    dead(2)
    dead(1, error="OSError", message="disk full")
    selection = {"group": [fingerprint_of("ValueError"), fingerprint_of("OSError")]}
    assert "Discard 3 dead letters" in person.get("/dead-letters/discard/", selection).content.decode()
    person.post("/dead-letters/discard/", selection)
    assert not DeadLetter.objects.filter(state="OPEN").exists()


def test_open_letters_are_counted_by_exception_and_age_and_each_number_leads_there(person: Client) -> None:
    dead(2)
    old = dead(1, error="OSError", message="disk full")
    DeadLetter.objects.filter(task_id=old[0]).update(created_at=timezone.now() - timedelta(days=3))
    page = person.get("/dead-letters/")
    rows = {row["error"]: [count for count, _ in row["cells"]] for row in page.context["ages"]["rows"]}
    assert rows == {"ValueError": [2, 0, 0, 0], "OSError": [0, 0, 1, 0]}
    (url,) = [url for row in page.context["ages"]["rows"] for count, url in row["cells"] if count == 1]
    led = person.get(f"/dead-letters/{url}")
    assert [item.error_type for item in led.context["groups"]] == ["OSError"]
    assert led.context["open_matching"] == 1


def test_all_of_an_age_are_those_that_have_it(person: Client) -> None:
    dead(2)
    old = dead(1)
    DeadLetter.objects.filter(task_id=old[0]).update(created_at=timezone.now() - timedelta(days=30))
    person.post("/dead-letters/discard/", {"all": "1", "age": "older"})
    assert DeadLetter.objects.get(state="DISCARDED").task_id == old[0]


def test_the_pages_say_what_became_of_earlier_replays(person: Client) -> None:
    dead(2)
    person.post("/dead-letters/replay/", {"all": "1", "group": group()})
    first, second = Task.objects.filter(replay_of__isnull=False)
    apply([Event(task_id=str(first.id), status=Status.SUCCESS, at=time.time(), worker="w1", result="1")])
    for path in ("/dead-letters/?state=ALL", f"/dead-letters/{group()}/"):
        text = person.get(path).content.decode()
        assert 'title="1 Success"' in text
        assert 'title="1 Queued"' in text
    assert str(second.id) in text


def test_a_groups_traceback_begins_with_the_own_frame(person: Client) -> None:
    ids = dead(1)
    Attempt.objects.filter(task_id=ids[0]).update(
        traceback='Traceback (most recent call last):\n  File "/srv/app/x.py", line 3, in run\n    boom()\nValueError: no\n'
    )
    assert "/srv/app/x.py:3" in person.get(f"/dead-letters/{group()}/").content.decode()
