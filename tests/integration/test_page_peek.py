"""The side panel: a task beside the list that it is in."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from tasks_app import catalog
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.recording.apply import apply
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

PANEL = {"HX-Request": "true"}


def failed() -> UUID:
    (task_id,) = dispatch(Dispatch(task="analyze_text", data=["a secret"]), Origin(source="api")).ids
    traceback = (
        'Traceback (most recent call last):\n  File "/srv/app.py", line 7, in run\n    boom()\nValueError: no such account'
    )
    apply(
        [
            Event(
                task_id=str(task_id), status=Status.FAILURE, at=time.time(), worker="w1", started_at=time.time(),
                error_type="ValueError", error_message="no such account", traceback=traceback, result='{"exc_type": "X"}',
            )
        ]
    )  # fmt: skip
    return task_id


def test_it_shows_what_decides_about_a_task(person: Client) -> None:
    task_id = failed()
    text = person.get(f"/tasks/{task_id}/peek/", headers=PANEL).content.decode()
    for shown in ("analyze_text", "no such account", "a secret", "w1", "/srv/app.py:7", "Run again", f'href="/tasks/{task_id}/"'):
        assert shown in text
    assert "<html" not in text


def test_who_may_only_look_is_offered_no_action(client: Client, member: Any) -> None:
    client.force_login(member)
    text = client.get(f"/tasks/{failed()}/peek/", headers=PANEL).content.decode()
    assert "Open the task" in text
    assert "Run again" not in text


def test_opened_as_a_page_it_leads_to_the_task(person: Client) -> None:
    task_id = failed()
    assert person.get(f"/tasks/{task_id}/peek/").headers["Location"] == f"/tasks/{task_id}/"


def test_an_unknown_task_is_404(person: Client) -> None:
    assert person.get(f"/tasks/{UUID(int=0)}/peek/", headers=PANEL).status_code == 404


def test_it_takes_few_queries(person: Client, django_assert_max_num_queries: Any) -> None:
    task_id = failed()
    catalog.entries()
    with django_assert_max_num_queries(12):
        person.get(f"/tasks/{task_id}/peek/", headers=PANEL)


@pytest.mark.parametrize("path", ["/", "/tasks/", "/events/"])
def test_every_list_of_tasks_has_its_button(path: str, person: Client) -> None:
    task_id = failed()
    text = person.get(path).content.decode()
    assert f'href="/tasks/{task_id}/" aria-label="Peek at analyze_text" data-peek' in text
