"""Drills, which fail or crash on purpose, are refused everywhere where they are off, and the refusal says what turns them on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client

from tasks_app import builtin_tasks
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.errors import DrillsOffError
from tasks_app.models import Batch, Task
from tests.integration.conftest import ApiClient
from zenith_site.celery import app as zenith
from zenith_worker.errors import DrillsOffError as NotRunError
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db

JSON = {"content_type": "application/json"}
HOW = "ZENITH_DRILLS=true"


@pytest.fixture
def off(settings: Any) -> None:
    settings.ZENITH_DRILLS = False


@pytest.fixture
def person(admin: User) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(admin)
    return client


@pytest.mark.usefixtures("off")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tasks/trigger", {"task": "drill_crash"}),
        ("/api/v1/tasks", {"dispatches": [{"task": "analyze_text", "data": "One."}, {"task": "drill_fail"}]}),
    ],
)
def test_the_api_refuses_to_send_one_and_sends_nothing(api: ApiClient, path: str, body: Any) -> None:
    response = api("dispatch").post(path, body, **JSON)
    assert response.status_code == 409
    assert HOW in response.json()["detail"]
    assert not Batch.objects.exists()


@pytest.mark.usefixtures("off")
def test_the_catalogue_has_none(api: ApiClient) -> None:
    client = api("read")
    assert [item["name"] for item in client.get("/api/v1/catalogue").json() if item["drill"]] == []
    response = client.get("/api/v1/catalogue/drill_fail")
    assert (response.status_code, HOW in response.json()["detail"]) == (404, True)
    assert client.get("/api/v1/catalogue/analyze_text").status_code == 200


@pytest.mark.usefixtures("off")
def test_the_page_offers_none_and_says_what_turns_them_on(person: Client) -> None:
    page = person.get("/dispatch/").content.decode()
    assert "?task=analyze_text" in page
    assert "drill_fail" not in page
    assert HOW in page
    assert HOW in person.get("/dispatch/?task=drill_fail").content.decode()
    refused = person.post("/dispatch/", {"task": "drill_fail", "arg-times": "1"})
    assert (refused.status_code, "Drills are off; set" in refused.content.decode()) == (409, True)
    assert not Batch.objects.exists()


@pytest.mark.usefixtures("off")
def test_the_command_refuses_to_send_one() -> None:
    with pytest.raises(CommandError, match=HOW):
        call_command("dispatch", "drill_sleep")
    with pytest.raises(DrillsOffError):
        dispatch(Dispatch(task="drill_sleep"), Origin(source="command"))


@pytest.mark.django_db(transaction=True)
def test_one_that_ran_before_is_not_run_again(api: ApiClient, settings: Any) -> None:
    sent = dispatch(Dispatch(task="drill_sleep", data=0), Origin(source="api")).ids[0]
    Task.objects.update(status=Status.SUCCESS, finished_at=Now())
    settings.ZENITH_DRILLS = False
    response = api("operate").post(f"/api/v1/tasks/{sent}/retry", {"forced": True}, **JSON)
    assert (response.status_code, HOW in response.json()["detail"]) == (409, True)
    assert Task.objects.count() == 1


def test_where_they_are_on_the_page_says_nothing_of_it(person: Client) -> None:
    page = person.get("/dispatch/").content.decode()
    assert "?task=drill_fail" in page
    assert HOW not in page


@pytest.fixture
def worker_setting() -> Iterator[Callable[[bool], None]]:
    """Turn drills on or off as a worker's own settings do."""
    before = zenith.conf.zenith_drills
    yield lambda allowed: zenith.conf.update(zenith_drills=allowed)
    zenith.conf.update(zenith_drills=before)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_worker_runs_one_only_where_they_are_on(worker_setting: Callable[[bool], None], allowed: bool) -> None:
    worker_setting(allowed)
    outcome = builtin_tasks.drill_sleep.apply(kwargs={"seconds": 0.0})
    assert outcome.successful() is allowed
    assert allowed or (isinstance(outcome.result, NotRunError) and HOW in str(outcome.result))
    assert builtin_tasks.analyze_text.apply(args=["One."]).successful()
