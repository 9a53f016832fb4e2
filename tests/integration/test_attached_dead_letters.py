"""Dead letters of other people's applications: written for final failures, grouped apart, listed, found, discarded, told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import discard
from tasks_app.maintenance.retention import prune_dead_letters
from tasks_app.models import Application, Batch, DeadLetter, ReplayRun, Task
from tasks_app.models.dead_letter import Selection
from tasks_app.models.task_keys import forget_applications
from tasks_app.queries.batches import BatchFilter
from tasks_app.queries.dead_letters import DeadLetterFilter, keys_named
from tasks_app.queries.events import EventFilter
from tasks_app.recording.apply import apply
from tests.failures import TRACEBACK, fail, queued
from tests.integration.conftest import ApiClient
from tests.integration.test_applications import attach, task_of
from tests.integration.test_notify_watch import look
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Notification
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import key_of, new_id
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/dead-letters"
ORIGIN = Origin(source="api", sent_by="ann")


@pytest.fixture(autouse=True)
def emptied_redis() -> Iterator[None]:
    redis_client().flushdb()
    forget_applications()
    yield
    redis_client().flushdb()
    forget_applications()


@pytest.fixture
def shop() -> Application:
    return attach("shop")


@pytest.fixture
def writer(api: ApiClient) -> Client:
    return api("read", "operate")


def step(application: Application, id_: str, status: Status = Status.FAILURE, **more: Any) -> Task:
    """Report a step of an application's task, by default that it failed for good."""
    failure = {
        "error_type": "CardError", "error_message": "declined", "traceback": TRACEBACK.format(line=12, message="declined"),
    }  # fmt: skip
    event = Event(
        task_id=id_, application=application.name, status=status, at=time.time(), name="analyze_text", queue="default", args=[1],
        **{**failure, **more},
    )  # fmt: skip
    apply([event], {application.name: application.pk})
    return Task.objects.get(id=key_of(id_, application.name))


def states() -> list[tuple[str, str]]:
    return sorted(DeadLetter.objects.values_list("application__name", "state"))


# --- Writing ---


def test_the_last_failure_leaves_a_letter_and_a_retry_does_not(shop: Application) -> None:
    step(shop, "a", Status.RETRY)
    assert not DeadLetter.objects.exists()
    task = step(shop, "a", attempt=1)
    letter = DeadLetter.objects.get()
    assert (letter.task, letter.application, letter.task_name, letter.error_type) == (task, shop, "analyze_text", "CardError")
    assert (letter.message, letter.frame, letter.state) == ("declined", "billing/tasks.py charge", "OPEN")
    step(shop, "a", attempt=1)
    assert DeadLetter.objects.count() == 1


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.REVOKED, Status.IGNORED])
def test_no_other_outcome_leaves_one(shop: Application, status: Status) -> None:
    step(shop, "a", status, result="1")
    assert not DeadLetter.objects.exists()


def test_the_same_failure_in_three_applications_is_three_groups(shop: Application) -> None:
    fail()
    step(shop, "a")
    step(shop, "b")
    step(attach("bank"), "a")
    groups = DeadLetterFilter().groups().groups
    assert [(group.application, group.count) for group in groups] == [("bank", 1), ("shop", 2), ("zenith", 1)]
    assert len({group.fingerprint for group in groups}) == 3


def test_one_application_does_not_push_out_the_letters_of_another(shop: Application) -> None:
    fail()
    for number in range(5):
        step(shop, str(number))
    assert prune_dead_letters(max_age=timedelta(days=90), max_count=2) == 3
    assert sorted(DeadLetter.objects.values_list("application__name", "task__text_id")) == [
        ("shop", "3"), ("shop", "4"), ("zenith", ""),
    ]  # fmt: skip


# --- Lists ---


def test_lists_and_groups_are_filtered_and_name_the_application(shop: Application, writer: Client) -> None:
    fail()
    task = step(shop, "nightly")
    for path, name in ((PATH, "task_id"), (f"{PATH}/groups", "count")):
        assert {item["application"] for item in writer.get(path).json()} == {"zenith", "shop"}
        for application in ("zenith", "shop"):
            assert [item["application"] for item in writer.get(path, {"application": application}).json()] == [application]
        assert writer.get(path, {"application": "unknown"}).json() == []
        assert name in writer.get(path, {"application": "shop"}).json()[0]
    for id_ in ("nightly", str(task.id)):
        found = writer.get(f"{PATH}/{id_}").json()
        assert (found["task_id"], found["application"], found["args"]) == ("nightly", "shop", [1])


def test_zeniths_own_letter_stands_before_another_of_the_same_id(shop: Application, writer: Client) -> None:
    own = fail()
    task = step(shop, str(own.id))
    assert writer.get(f"{PATH}/{own.id}").json()["application"] == "zenith"
    assert keys_named([str(own.id), str(task.id)]) == [own.id, task.id]
    assert keys_named([str(own.id), str(task.id)], "shop") == [task.id, task.id]
    assert keys_named([str(own.id)], "zenith") == [own.id]


def test_letters_of_one_application_are_read_along_their_index(shop: Application) -> None:
    step(shop, "a")
    with CaptureQueriesContext(connection) as queries:
        DeadLetterFilter(application="shop").page()
    scan = queries[0]["sql"]
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")  # a table of a few rows is read whole otherwise
        try:
            cursor.execute(f"EXPLAIN {scan}")
            assert "letter_attached" in " ".join(row[0] for row in cursor.fetchall())
        finally:
            cursor.execute("RESET enable_seqscan")


def test_the_page_has_a_column_and_a_choice_once_there_are_several(person: Client) -> None:
    fail(message="no funds")
    page = person.get("/dead-letters/").text
    assert 'name="application"' not in page
    assert ">Application</th>" not in page
    step(attach("shop"), "a")
    both, one = person.get("/dead-letters/").text, person.get("/dead-letters/?application=shop").text
    assert 'name="application"' in both
    assert ">Application</th>" in both
    assert "no funds" in both
    assert "no funds" not in one
    assert "Discard 1" in one
    # Tabs, ages and confirmations keep it.
    assert "application=shop" in one
    fingerprint = DeadLetter.objects.get(application__name="shop").fingerprint
    assert "of shop" in person.get(f"/dead-letters/{fingerprint}/").text
    assert "in analyze_text of shop" in person.get("/").text
    assert "of zenith" not in person.get("/").text
    assert "shop" in person.get("/dead-letters/?application=shop&format=csv").getvalue().decode()


def test_a_page_of_letters_takes_few_queries(shop: Application, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        step(shop, str(number))
    # One for the letters, one for their tasks' arguments, one for the names of those, one for the applications.
    with django_assert_max_num_queries(4):
        assert len(DeadLetterFilter(application="shop").page().letters) == 20
    with django_assert_max_num_queries(2):
        assert len(DeadLetterFilter(application="shop").groups().groups) == 1


# --- Acting ---


def test_letters_of_one_application_are_discarded_and_others_stay(shop: Application) -> None:
    fail()
    step(shop, "a")
    assert discard(Selection(application="unknown"), "", ORIGIN) == 0
    assert discard(Selection(application="shop"), "", ORIGIN) == 1
    assert states() == [("shop", "DISCARDED"), ("zenith", "OPEN")]
    assert discard(Selection(application="zenith"), "", ORIGIN) == 1


def test_the_api_discards_by_application_and_by_celerys_id(shop: Application, writer: Client) -> None:
    own = fail()
    for id_ in ("a", "b", str(own.id)):
        step(shop, id_)

    def post(**body: Any) -> Any:
        return writer.post(f"{PATH}/discard", data=json.dumps(body), content_type="application/json")

    assert post(ids=["a"]).json() == {"discarded": 1}
    assert post(ids=[str(own.id)], application="shop").json() == {"discarded": 1}
    answer = post(ids=["b", "a"], application="zenith")
    assert [item["pointer"] for item in answer.json()["errors"]] == ["/ids/0", "/ids/1"]
    assert post(all=True, application="shop").json() == {"discarded": 1}
    assert states() == [("shop", "DISCARDED")] * 3 + [("zenith", "OPEN")]


def test_the_page_discards_what_its_filter_shows(shop: Application, person: Client) -> None:
    fail()
    step(shop, "a")
    question = person.get("/dead-letters/discard/?all=1&application=shop").text
    assert "1 dead letter is discarded" in question
    assert 'name="application" value="shop"' in question
    person.post("/dead-letters/discard/", {"all": "1", "application": "shop"})
    assert states() == [("shop", "DISCARDED"), ("zenith", "OPEN")]


def test_a_replay_of_one_application_never_reaches_others(shop: Application, writer: Client) -> None:
    own = [fail(), fail()]
    step(shop, "a")
    out = StringIO()
    call_command("replay", "--all", "--application", "zenith", "--dry-run", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"matching": 2}
    with pytest.raises(CommandError, match="no dead letter matches"):
        call_command("replay", "--all", "--application", "unknown", "--yes")
    body = {"all": True, "application": "zenith", "rate": 5}
    run = writer.post(f"{PATH}/replay", data=json.dumps(body), content_type="application/json").json()["run"]
    assert run["total"] == 2
    assert sorted(ReplayRun.objects.get().selection.query().values_list("task_id", flat=True)) == sorted(task.id for task in own)


# --- Notifications ---


def test_a_failure_is_told_once_and_names_its_application(shop: Application) -> None:
    step(shop, "a")
    fail(message="other")
    for _ in range(2):
        look(NotificationKind.DEAD_LETTER)
    step(shop, "b")
    look(NotificationKind.DEAD_LETTER)
    assert sorted(Notification.objects.values_list("title", "count")) == [
        ("CardError in analyze_text", 1), ("CardError in analyze_text of shop", 2),
    ]  # fmt: skip


# --- Other lists of what tasks did ---


def test_events_are_listed_by_application(shop: Application, writer: Client, person: Client) -> None:
    own = fail()
    step(shop, "a")
    assert [event.task.text_id for event in EventFilter(application="shop").page().events] == ["a"]
    found = writer.get("/api/v1/events", {"application": "zenith"}).json()["events"]
    assert {(event["task_id"], event["application"]) for event in found} == {(str(own.id), "zenith")}
    assert writer.get("/api/v1/events", {"application": "unknown"}).json()["events"] == []
    page = person.get("/events/?application=shop").text
    assert '<option value="shop" selected>' in page
    assert str(own.id) not in page


def test_batches_are_listed_by_application(shop: Application, writer: Client) -> None:
    batches = [Batch.objects.create(task_name="t", size=2, source="api", created_at=timezone.now()) for _ in range(4)]
    own, *others = batches
    queued(id=new_id(), batch=own)
    for number, batch in enumerate(others):
        task_of(shop, f"{number}a", batch=batch)
        task_of(shop, f"{number}b", batch=batch)
    assert [item.batch for item in BatchFilter(application="shop").page().batches] == others[::-1]
    assert [item.batch for item in BatchFilter(application="shop", task="t").page().batches] == others[::-1]
    first = BatchFilter(application="shop", limit=2).page()
    assert first.following is not None
    assert [item.batch for page in (first, first.following.page()) for item in page.batches] == others[::-1]
    assert [item["batch_id"] for item in writer.get("/api/v1/batches", {"application": "zenith"}).json()] == [str(own.id)]
    assert writer.get("/api/v1/batches", {"application": "unknown"}).json() == []


def test_batches_of_an_application_are_read_along_its_index(shop: Application) -> None:
    with CaptureQueriesContext(connection) as queries:
        BatchFilter(application="shop").page()
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")  # a table of a few rows is read whole otherwise
        try:
            cursor.execute(f"EXPLAIN {queries[0]['sql']}")
            assert "task_batch_attached" in " ".join(row[0] for row in cursor.fetchall())
        finally:
            cursor.execute("RESET enable_seqscan")
