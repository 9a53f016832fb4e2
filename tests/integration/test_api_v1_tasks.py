"""`/api/v1/tasks`: dispatch, search, look into, cancel, run again, and change tasks."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Batch, Task, TaskEvent
from tasks_app.models.task_keys import forget_applications
from tests.integration.conftest import ApiClient
from tests.integration.test_api_tasks import make, succeeded
from zenith_worker.wire.states import Status

PATH = "/api/v1/tasks"
JSON = "application/json"
NOBODY = UUID(int=7)


@pytest.fixture
def client(api: ApiClient) -> Client:
    return api("read", "dispatch", "operate")


@pytest.fixture(autouse=True)
def often(settings: Any) -> None:
    from zenith_site.settings import ZENITH_RATE_LIMIT

    settings.ZENITH_RATE_LIMIT = type(ZENITH_RATE_LIMIT)(count=1000, seconds=1)


def scheduled(**more: Any) -> Task:
    """A task that is due in an hour."""
    request = Dispatch(task="drill_sleep", kwargs={"seconds": 0.5}, not_before=timezone.now() + timedelta(hours=1), **more)
    return Task.objects.get(id=dispatch(request, Origin(source="api")).ids[0])


def failed() -> Task:
    from tasks_app.models import DeadLetter

    task = make(status=Status.FAILURE, finished_at=timezone.now(), error_type="ValueError", error_message="no")
    DeadLetter.objects.create(
        task=task, fingerprint="f", task_name=task.name, queue=task.queue, error_type="ValueError", created_at=timezone.now()
    )
    return task


def pointers(response: Any) -> list[str]:
    assert response.status_code == 422, response.content
    return [item.get("pointer", item.get("parameter")) for item in response.json()["errors"]]


# --- Dispatching ---


def test_different_dispatches_are_written_together(client: Client) -> None:
    body = {"dispatches": [{"data": ["a", "b"]}, {"task": "drill_sleep", "kwargs": {"seconds": 0}, "queue": "slow"}]}
    response = client.post(PATH, body, content_type=JSON)
    answer = response.json()
    assert response.status_code == 201
    assert answer["triggered"] == 3
    assert [batch["triggered"] for batch in answer["batches"]] == [2, 1]
    ids = [id_ for batch in answer["batches"] for id_ in batch["ids"]]
    assert {str(task.id): task.queue for task in Task.objects.all()} == dict(
        zip(ids, ["default", "default", "slow"], strict=True)
    )


@pytest.mark.parametrize(
    ("dispatches", "expected"),
    [
        ([{"data": "a"}, {"task": "none"}, {"count": 0}], ["/dispatches/1/task", "/dispatches/2/count"]),
        ([{"data": "a"}, {"data": 7}], ["/dispatches/1/data"]),
        ([{"data": "a"}, {"priority": "high"}], ["/dispatches/1/priority"]),
        ([{"data": "a", "count": 6000}, {"data": "a", "count": 4001}], ["/dispatches"]),
        ([], ["/dispatches"]),
    ],
)
def test_one_bad_dispatch_keeps_all_from_being_written(client: Client, dispatches: Any, expected: list[str]) -> None:
    assert pointers(client.post(PATH, {"dispatches": dispatches}, content_type=JSON)) == expected
    assert not Batch.objects.exists()


def test_a_dispatch_counts_against_the_rate_limit(client: Client, settings: Any) -> None:
    settings.ZENITH_RATE_LIMIT = type(settings.ZENITH_RATE_LIMIT)(count=1, seconds=60)
    body = {"dispatches": [{"data": "a"}]}
    assert [client.post(PATH, body, content_type=JSON).status_code for _ in range(2)] == [201, 429]


# --- Looking ---


def test_the_list_speaks_the_search_language(client: Client) -> None:
    task = succeeded(queue="slow", kwargs={"user": 7})
    make(queue="slow")
    response = client.get(PATH, {"q": "queue:slow status:SUCCESS args.user:7"})
    (answer,) = response.json()
    assert (answer["task_id"], answer["queue"], answer["result"]) == (str(task.id), "slow", {"word_count": 1})


def test_a_search_that_cannot_be_understood_is_named(client: Client) -> None:
    for path in (PATH, "/tasks/all"):
        response = client.get(path, {"q": "colour:red"})
        assert pointers(response) == ["q"]
        assert "'colour'" in response.json()["errors"][0]["detail"]


def test_one_task_shows_its_timeline_runs_and_reason(client: Client) -> None:
    task = scheduled()
    answer = client.get(f"{PATH}/{task.id}").json()
    assert answer["why"].startswith("Scheduled; due in 60 min")
    assert [event["status"] for event in answer["timeline"]] == ["SCHEDULED"]
    assert (answer["kwargs"], answer["runs"], answer["replay_of"]) == ({"seconds": 0.5}, [], None)


def test_a_queued_task_says_that_no_worker_serves_its_queue(client: Client) -> None:
    task = make(queue="reports")
    assert client.get(f"{PATH}/{task.id}").json()["why"] == "No worker consumes the queue reports."


def test_one_task_names_its_parent_and_what_it_sent(client: Client) -> None:
    parent = make()
    older, newer = make(parent_id=parent.id), make(parent_id=parent.id)
    answer = client.get(f"{PATH}/{parent.id}").json()
    assert (answer["parent_id"], answer["children"]) == (None, [str(newer.id), str(older.id)])
    assert client.get(f"{PATH}/{older.id}").json()["parent_id"] == str(parent.id)
    children = client.get(PATH, {"q": f"parent:{parent.id}"}).json()
    assert [one["task_id"] for one in children] == answer["children"]


@pytest.mark.parametrize("count", [1, 20])
def test_one_task_takes_so_many_queries_however_much_happened(client: Client, count: int, django_assert_num_queries: Any) -> None:
    task = make()
    for number in range(count):
        TaskEvent.objects.create(task=task, status="QUEUED", position=number, at=timezone.now())
    # Read by the first request, and known for a few seconds.
    forget_applications()
    client.get(f"{PATH}/{task.id}")
    with django_assert_num_queries(6):  # token, task, steps, relatives, queues, tasks ahead; no worker has any work before it
        client.get(f"{PATH}/{task.id}")


@pytest.mark.parametrize("path", ["{}", "{}/cancel", "{}/retry"])
@pytest.mark.parametrize("task_id", [str(NOBODY), "nonsense"])
def test_an_unknown_task_is_404(client: Client, path: str, task_id: str) -> None:
    address = f"{PATH}/{path.format(task_id)}"
    answer = client.get(address) if path == "{}" else client.post(address, {}, content_type=JSON)
    assert answer.status_code == 404
    assert client.patch(f"{PATH}/{task_id}", {}, content_type=JSON).status_code == 404


# --- Cancelling ---


def test_a_task_is_cancelled_once(client: Client) -> None:
    task = scheduled()
    first, second = (client.post(f"{PATH}/{task.id}/cancel", content_type=JSON) for _ in range(2))
    assert first.json() == {
        "matched": 1,
        "revoked": 1,
        "running": 0,
        "finished": 0,
        "requested": 0,
        "problems": [],
        "more": False,
        "dry_run": False,
    }
    assert second.status_code == 409
    assert "REVOKED" in second.json()["detail"]
    assert "cancelled by token test" in TaskEvent.objects.get(task=task, status="REVOKED").message


def test_what_matches_a_filter_is_counted_and_then_cancelled(client: Client) -> None:
    matching = [scheduled(queue="reports") for _ in range(3)]
    other = scheduled()
    body: dict[str, Any] = {"filter": {"q": "queue:reports"}, "dry_run": True}
    assert client.post(f"{PATH}/cancel", body, content_type=JSON).json()["matched"] == 3
    assert not Task.objects.filter(status="REVOKED").exists()
    answer = client.post(f"{PATH}/cancel", {**body, "dry_run": False}, content_type=JSON).json()
    assert (answer["matched"], answer["revoked"], answer["more"]) == (3, 3, False)
    assert set(Task.objects.filter(status="REVOKED")) == set(matching)
    assert Task.objects.get(id=other.id).status == "SCHEDULED"


def test_named_tasks_are_cancelled(client: Client) -> None:
    ids = [str(scheduled().id), str(succeeded().id), str(NOBODY)]
    dry = client.post(f"{PATH}/cancel", {"ids": ids, "dry_run": True}, content_type=JSON).json()
    answer = client.post(f"{PATH}/cancel", {"ids": ids}, content_type=JSON).json()
    assert (dry["matched"], dry["dry_run"]) == (1, True)
    assert (answer["matched"], answer["revoked"], answer["finished"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [""]), ({"ids": [str(NOBODY)], "filter": {"q": "x"}}, [""]), ({"filter": {}}, ["/filter"]), ({"ids": []}, ["/ids"]),
        ({"ids": [7]}, ["/ids/0"]), ({"ids": [""]}, ["/ids/0"]), ({"filter": {"q": "colour:red"}}, ["/filter/q"]),
        ({"filter": {"status": "DONE"}}, ["/filter/status"]),
    ],
)  # fmt: skip
def test_a_wish_that_is_not_clear_cancels_nothing(client: Client, body: Any, expected: list[str]) -> None:
    task = scheduled()
    assert pointers(client.post(f"{PATH}/cancel", body, content_type=JSON)) == expected
    assert Task.objects.get(id=task.id).status == "SCHEDULED"


# --- Running again ---


def test_a_dead_letter_is_replayed(client: Client) -> None:
    task = failed()
    answer = client.post(f"{PATH}/{task.id}/retry", content_type=JSON)
    assert answer.status_code == 201
    new = Task.objects.get(id=answer.json()["task_id"])
    assert (new.replay_of_id, new.args) == (task.id, task.args)
    task.dead_letter.refresh_from_db()
    assert task.dead_letter.state == "REPLAYED"


@pytest.mark.parametrize("ended", [failed, succeeded])
def test_it_is_run_again_once_unless_that_is_forced(client: Client, ended: Any) -> None:
    path = f"{PATH}/{ended().id}/retry"
    again = [client.post(path, body, content_type=JSON).status_code for body in ({}, {}, {"forced": True})]
    assert again == [201, 409, 201]
    assert Task.objects.count() == 3


def test_what_has_not_ended_is_not_run_again(client: Client) -> None:
    response = client.post(f"{PATH}/{scheduled().id}/retry", content_type=JSON)
    assert (response.status_code, "SCHEDULED" in response.json()["detail"]) == (409, True)
    assert Task.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ended", [failed, succeeded])
def test_of_many_at_once_one_runs_it_again(client: Client, ended: Any) -> None:
    path = f"{PATH}/{ended().id}/retry"
    together = threading.Barrier(4)
    statuses: list[int] = []

    def send() -> None:
        together.wait(30)
        try:
            statuses.append(client.post(path, content_type=JSON).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(statuses) == [201, 409, 409, 409]
    assert Task.objects.count() == 2


# --- Changing ---


def test_a_change_stands_on_the_timeline_behind_the_first_step(client: Client) -> None:
    task = scheduled()
    assert task.not_before
    body = {"not_before": "2099-01-01T00:00:00Z", "queue": "slow", "priority": 3, "kwargs": {"seconds": 1.5}}
    answer = client.patch(f"{PATH}/{task.id}", body, content_type=JSON).json()
    assert (answer["queue"], answer["priority"], answer["kwargs"]) == ("slow", 3, {"seconds": 1.5})
    assert answer["not_before"].startswith("2099-01-01T00:00:00")
    client.patch(f"{PATH}/{task.id}", {"priority": 4}, content_type=JSON)
    client.post(f"{PATH}/{task.id}/cancel", content_type=JSON)
    steps = client.get(f"{PATH}/{task.id}").json()["timeline"]
    assert [step["status"] for step in steps] == ["SCHEDULED", "SCHEDULED", "SCHEDULED", "REVOKED"]
    before = task.not_before.isoformat(timespec="seconds").replace("+00:00", "Z")
    assert steps[1]["message"].startswith(f"rescheduled from {before} to 2099-01-01T00:00:00Z; queue changed from")
    assert "by token test" in steps[1]["message"]
    assert steps[2]["message"].startswith("priority changed from 3 to 4 by ")
    assert [step["attempt"] for step in steps] == [1, 1, 1, 1]


def test_changing_nothing_leaves_no_note(client: Client) -> None:
    task = scheduled(priority=3)
    for body in ({}, {"priority": 3}, {"queue": None}):
        assert client.patch(f"{PATH}/{task.id}", body, content_type=JSON).status_code == 200
    assert TaskEvent.objects.filter(task=task).count() == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"priority": 10}, "/priority"), ({"queue": ""}, "/queue"), ({"not_before": "tomorrow"}, "/not_before"),
        ({"kwargs": {"seconds": "x"}}, "/kwargs/seconds"), ({"args": [1], "kwargs": {"seconds": 1}}, "/kwargs/seconds"),
        ({"kwargs": {"seconds": 1, "a": "\x00"}}, "/kwargs/a"), ({"status": "SUCCESS"}, "/status"),
        ({"not_before": "2098-01-01T00:00:00Z"}, "/not_before"),
    ],
)  # fmt: skip
def test_a_bad_change_is_named_and_changes_nothing(client: Client, body: Any, expected: str) -> None:
    task = scheduled(expires_at=datetime(2090, 1, 1, tzinfo=UTC))
    assert pointers(client.patch(f"{PATH}/{task.id}", body, content_type=JSON)) == [expected]
    task.refresh_from_db()
    assert (task.queue, task.priority, task.kwargs) == ("default", None, {"seconds": 0.5})
    assert TaskEvent.objects.filter(task=task).count() == 1


def test_what_was_sent_is_not_changed(client: Client) -> None:
    response = client.patch(f"{PATH}/{make().id}", {"priority": 1}, content_type=JSON)
    assert (response.status_code, "QUEUED" in response.json()["detail"]) == (409, True)


# --- Who may ---


def test_who_may_only_dispatch_may_not_step_in(api: ApiClient, member: Any) -> None:
    from django.contrib.auth.models import Permission

    member.user_permissions.add(Permission.objects.get(codename="dispatch_task"))
    client = api("read", "dispatch", "operate", user=member)
    task = scheduled()
    assert client.post(PATH, {"dispatches": [{"data": "a"}]}, content_type=JSON).status_code == 201
    assert client.post(f"{PATH}/{task.id}/cancel", content_type=JSON).status_code == 403
    assert client.post(f"{PATH}/{task.id}/retry", content_type=JSON).status_code == 403
    assert client.patch(f"{PATH}/{task.id}", {}, content_type=JSON).status_code == 403
    assert client.post(f"{PATH}/cancel", {"ids": [str(task.id)]}, content_type=JSON).status_code == 403
    assert Task.objects.get(id=task.id).status == "SCHEDULED"


def test_a_queued_task_counts_those_before_it_in_its_queue(client: Client) -> None:
    from zenith_worker.wire import heartbeat

    for queue in ("reports", "reports", "other"):
        make(queue=queue)
    task = make(queue="reports")
    make(queue="reports")
    heartbeat.write("w1@host", slots=1, busy=1, queues=["reports"])
    try:
        assert client.get(f"{PATH}/{task.id}").json()["why"] == "Waiting behind 2 others in the queue reports."
    finally:
        heartbeat.forget("w1@host")
