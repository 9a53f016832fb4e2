"""The page that sends tasks: its form comes from the signature, and says beside each field what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task
from zenith_worker.wire import stream
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/dispatch/"


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


def test_the_form_is_made_from_the_signature(person: Client) -> None:
    assert "Choose a task" in person.get(PATH).content.decode()
    page = person.get(f"{PATH}?task=drill_sleep").content.decode()
    assert 'name="arg-seconds"' in page
    assert 'type="number"' in page


def test_one_task_is_sent_and_shown(person: Client) -> None:
    answer = person.post(PATH, {"task": "analyze_text", "arg-data": "Some text.", "priority": "3"})
    task = Task.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/tasks/{task.id}/")
    assert (task.kwargs, task.priority, task.source) == ({"data": "Some text."}, 3, "page")


def test_many_lead_to_their_batch(person: Client) -> None:
    answer = person.post(PATH, {"task": "drill_sleep", "arg-seconds": "0.1", "count": "3"})
    assert Task.objects.count() == 3
    assert "batch" in answer.headers["Location"]


def test_each_line_of_a_file_makes_a_task(person: Client) -> None:
    file = SimpleUploadedFile("texts.txt", "One.\n\nTwo é.\n".encode())
    person.post(PATH, {"task": "analyze_text", "file": file, "lines": "on"})
    assert sorted(task.args[0] for task in Task.objects.all()) == ["One.", "Two é."]


def test_a_later_time_is_kept_in_utc(person: Client) -> None:
    person.post(PATH, {"task": "drill_sleep", "arg-seconds": "1", "not_before": "2040-01-31T12:00:00"})
    task = Task.objects.get()
    assert (task.status, str(task.not_before)) == (Status.SCHEDULED, "2040-01-31 12:00:00+00:00")


def test_a_preview_shows_the_body_and_sends_nothing(person: Client) -> None:
    page = person.post(PATH, {"task": "drill_sleep", "arg-seconds": "2", "preview": "1"})
    assert page.status_code == 200
    assert "&quot;seconds&quot;: 2.0" in page.content.decode()
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"arg-seconds": "soon"}, "arg-seconds"),
        ({"arg-seconds": "1", "count": "0"}, "count"),
        ({"arg-seconds": "1", "expires_at": "2020-01-01T00:00:00"}, "expires_at"),
        ({"arg-seconds": "1", "time_limit": "5", "soft_time_limit": "9"}, "soft_time_limit"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_and_sends_nothing(person: Client, body: dict[str, str], field: str) -> None:
    answer = person.post(PATH, {"task": "drill_sleep", **body})
    assert answer.status_code == 422
    assert f'id="id_{field}_error"' in answer.content.decode()
    assert not Task.objects.exists()


def test_repeating_fills_the_form_in_without_secrets(person: Client) -> None:
    (id_,) = dispatch(Dispatch(task="drill_fail", kwargs={"times": 1, "message": "password=hunter2 x"}), Origin(source="api")).ids
    Task.objects.filter(id=id_).update(queue="reports")
    page = person.get(f"{PATH}?like={id_}").content.decode()
    assert 'value="reports"' in page
    assert person.get(f"{PATH}?like=nonsense").status_code == 404


def test_too_many_are_told_calmly(person: Client, settings: Any) -> None:
    settings.ZENITH_RATE_LIMIT = type(settings.ZENITH_RATE_LIMIT)(1, 60)
    body = {"task": "drill_sleep", "arg-seconds": "0"}
    person.post(PATH, body)
    answer = person.post(PATH, body)
    assert "data-countdown" in answer.content.decode()
    assert Task.objects.count() == 1


def test_who_may_not_dispatch_is_kept_out() -> None:
    client = Client()
    client.force_login(User.objects.create_user("vera", password="a long enough one"))
    assert client.get(PATH).status_code == 403


def test_the_picker_is_searched_without_script_and_keeps_what_is_chosen(person: Client) -> None:
    page = person.get(f"{PATH}?q=ANALYZE&task=drill_sleep").content.decode()
    choices = page.partition('id="choices"')[2].partition("</ul>")[0]
    assert "analyze_text" in choices
    assert "drill_sleep" not in choices
    assert '<input type="hidden" name="task" value="drill_sleep">' in page.partition('class="card-body picker"')[2]
    assert "No task has this in its name." in person.get(f"{PATH}?q=nothing").content.decode()
