"""Cancelling tasks of attached applications: at once if their workers were not asked to send them, else by their workers."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch import cancel_attached
from tasks_app.dispatch.cancel import cancel, revoke_requested
from tasks_app.dispatch.cancel_attached import LOOK_EVERY, RequestedCancellations
from tasks_app.dispatch.cancelled import Cancelled
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.hand_over import HandOver
from tasks_app.models import Application, Task, TaskEvent
from tasks_app.queries.detail import detail
from tests.attached_worker import asked, attach, beat, record, report, send, task_of
from zenith_site.common import faults
from zenith_worker.wire import commands, keys, stream
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

SHOP, BANK = "shop", "bank"
API = Origin(source="api", sent_by="ann")


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()
    stream.ensure_group()


@pytest.fixture
def shop() -> Application:
    return attach(SHOP)


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ann", password="a long enough one"))
    return client


def dispatched(application: str = SHOP, **more: Any) -> Task:
    """A task that Zenith dispatched."""
    request = {"task": "shop.charge", "data": 7, "application": application, **more}
    return Task.objects.get(id=dispatch(Dispatch(**request), API).ids[0])


def handed(application: str = SHOP) -> Task:
    """A task that the application's workers were asked to send."""
    beat(application)
    task = dispatched(application)
    assert task.handed_at is not None
    return task


def reported(celery_id: str = "a", status: Status = Status.QUEUED, application: str = SHOP) -> Task:
    """A task that the application sent itself."""
    report(application, celery_id, Status.QUEUED, name="shop.charge", queue="payments", args=[7], kwargs={})
    if status != Status.QUEUED:
        report(application, celery_id, status, worker="celery@shop")
    record()
    return task_of(application, celery_id)


def why(task: Task) -> str:
    found = detail(str(task.id))
    assert found
    return found.why


def revocations(application: str = SHOP) -> list[dict[str, Any]]:
    """The bodies of the commands to revoke tasks that nobody has read yet."""
    return [dict(command.body) for command in asked(application) if command.kind == "revoke"]


@pytest.mark.parametrize("scheduled", [False, True])
def test_what_was_not_handed_over_is_revoked_at_once(shop: Application, scheduled: bool) -> None:
    task = dispatched(not_before=timezone.now() + timedelta(hours=1) if scheduled else None)
    assert cancel([task.id], by="ann") == Cancelled(1, 0, 0)
    task.refresh_from_db()
    assert (task.status, task.finished_at is not None) == ("REVOKED", True)
    assert TaskEvent.objects.filter(task=task, status="REVOKED").get().message == "cancelled by ann"
    beat(SHOP)
    assert (HandOver().run_once(), commands.waiting(SHOP), commands.cancelled(SHOP)) == (0, 0, [])
    assert cancel([task.id], by="ann") == Cancelled(0, 0, 1)


@pytest.mark.parametrize("force", [False, True])
def test_the_workers_are_asked_to_refuse_what_was_handed_over(shop: Application, force: bool) -> None:
    task = handed()
    assert cancel([task.id], by="ann", force=force) == Cancelled(0, 0, 0, 1)
    assert commands.cancelled(SHOP) == [task.celery_id]
    assert revocations() == [{"ids": [task.celery_id], **({"signal": "SIGKILL"} if force else {})}]
    assert why(task) == "Cancelled; the workers of shop refuse it when they receive it."
    task.refresh_from_db()
    assert (task.status, task.cancel_requested_at is not None) == ("PENDING", True)
    report(SHOP, task.celery_id, Status.REVOKED, worker="celery@shop", message="revoked")
    record()
    task.refresh_from_db()
    assert (task.status, why(task)[:8]) == ("REVOKED", "Revoked:")
    assert cancel([task.id], by="ann") == Cancelled(0, 0, 1)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.RETRY])
def test_also_for_what_the_application_sent_itself(shop: Application, status: Status) -> None:
    task = reported(status=status)
    assert cancel([task.id], by="ann") == Cancelled(0, 0, 0, 1)
    assert (commands.cancelled(SHOP), revocations()) == (["a"], [{"ids": ["a"]}])
    assert ("this run may finish" if status == Status.STARTED else "refuse it when they receive it") in why(
        Task.objects.get(id=task.id)
    )


def test_a_handed_task_that_is_unconfirmed_is_not_handed_over_again_once_it_is_cancelled(shop: Application) -> None:
    task = handed()
    cancel([task.id], by="ann")
    stream.client().delete(keys.application_keys(SHOP).commands)
    Task.objects.update(handed_at=timezone.now() - timedelta(hours=1))
    assert HandOver().run_once() == 0


def test_what_a_relay_handed_over_before_it_died_is_not_taken_for_unsent(shop: Application) -> None:
    task = handed()
    Task.objects.update(handed_at=None)
    assert cancel([task.id], by="ann") == Cancelled(0, 0, 0, 1)
    task.refresh_from_db()
    assert (task.status, task.handed_at is not None) == ("PENDING", True)
    assert commands.cancelled(SHOP) == [task.celery_id]


def test_the_end_of_a_cancelled_task_is_what_its_worker_reports(shop: Application) -> None:
    task = handed()
    cancel([task.id], by="ann")
    send(SHOP)
    report(SHOP, task.celery_id, Status.SUCCESS, result="1")
    record()
    task.refresh_from_db()
    assert task.status == "SUCCESS"


def test_each_application_is_asked_for_its_own_in_bounded_commands(shop: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel_attached, "CHUNK", 2)
    attach(BANK)
    ids = [reported(f"a{number}").id for number in range(3)] + [reported("b", application=BANK).id]
    own = dispatch(Dispatch(data="x"), API).ids
    unsent = dispatched().id
    assert cancel([*ids, *own, unsent], by="ann") == Cancelled(2, 0, 0, 4)
    bodies = revocations()
    assert [len(body["ids"]) for body in bodies] in ([2, 1], [1, 2])
    assert {id_ for body in bodies for id_ in body["ids"]} == {"a0", "a1", "a2"}
    assert revocations(BANK) == [{"ids": ["b"]}]


def test_a_broken_application_stops_no_other(shop: Application) -> None:
    attach(BANK)
    tasks = [reported(application=name) for name in (SHOP, BANK)]
    unsent = dispatched()
    stream.client().set(keys.application_keys(SHOP).cancelled, "x")
    stream.client().set(keys.application_keys(SHOP).handed, "x")
    assert cancel([*(task.id for task in tasks), unsent.id], by="ann") == Cancelled(1, 0, 0, 2)
    assert commands.cancelled(BANK) == ["a"]
    assert [fault.item for fault in faults.recent()] == ["the application shop"]
    assert Task.objects.filter(cancel_requested_at=None).count() == 0
    assert RequestedCancellations().run_once() == 0


def test_a_request_that_a_crash_or_an_outage_interrupted_is_passed_on(shop: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    attach(BANK)
    task, other = reported(), reported(application=BANK)

    def unreachable(*_: Any) -> None:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(commands, "remember_cancelled", unreachable)
        with pytest.raises(redis.ConnectionError):
            cancel([task.id], by="ann")
    cancel([other.id], by="ann")
    assert (commands.cancelled(SHOP), revoke_requested()) == ([], 0)
    clock = Clock()
    engine = RequestedCancellations(clock)
    assert (engine.run_once(), revocations(), commands.cancelled(SHOP)) == (1, [{"ids": ["a"]}], ["a"])
    stream.client().delete(keys.application_keys(SHOP).cancelled)
    assert engine.run_once() == 0, "it looks all the time"
    clock.now += LOOK_EVERY
    assert (engine.run_once(), len(revocations()), len(revocations(BANK))) == (1, 1, 1)
    clock.now += LOOK_EVERY
    assert (engine.run_once(), revocations()) == (0, [])
    report(SHOP, "a", Status.REVOKED)
    record()
    stream.client().delete(keys.application_keys(SHOP).cancelled)
    clock.now += LOOK_EVERY
    assert engine.run_once() == 0


def requested_long_ago() -> None:
    """As if all cancellations had been requested long before."""
    Task.objects.exclude(cancel_requested_at=None).update(cancel_requested_at=timezone.now() - timedelta(hours=1))


@pytest.mark.parametrize("kept", ["nothing", "the handed ids"])
def test_a_cancelled_task_whose_command_redis_lost_is_revoked(shop: Application, kept: str) -> None:
    task, recent = handed(), handed()
    for one in (task, recent):
        assert cancel([one.id], by="ann").requested == 1
    Task.objects.filter(id=task.id).update(cancel_requested_at=timezone.now() - timedelta(hours=1))
    if kept == "nothing":
        stream.client().flushdb()
    else:
        stream.client().delete(keys.application_keys(SHOP).commands)
    RequestedCancellations().run_once()
    task.refresh_from_db()
    recent.refresh_from_db()
    assert (task.status, recent.status) == ("REVOKED", "PENDING")
    assert TaskEvent.objects.get(task=task, status="REVOKED").message == "cancelled"
    assert task.celery_id in commands.cancelled(SHOP), "a worker may have sent it before"


def test_a_cancelled_task_whose_command_waits_or_was_confirmed_is_not_revoked(shop: Application) -> None:
    beat(SHOP)
    waits, sent = dispatched(), dispatched()
    confirmed = [command for command in asked(SHOP) if command.body["id"] == sent.celery_id]
    commands.confirm(SHOP, confirmed, [])
    cancel([waits.id, sent.id], by="ann")
    requested_long_ago()
    assert RequestedCancellations().run_once() == 0
    assert set(Task.objects.values_list("status", flat=True)) == {"PENDING"}


@pytest.mark.parametrize("looked", [False, True], ids=["at its cancellation", "by the look"])
def test_a_scheduled_task_that_a_relay_handed_over_before_it_died_becomes_pending(shop: Application, looked: bool) -> None:
    task = handed()
    before = timezone.now() - timedelta(minutes=1)
    Task.objects.update(handed_at=None, status=Status.SCHEDULED, position=0, not_before=before)
    TaskEvent.objects.all().delete()
    if looked:
        Task.objects.update(cancel_requested_at=timezone.now() - timedelta(hours=1))
        assert RequestedCancellations().run_once() == 1
    else:
        assert cancel([task.id], by="ann") == Cancelled(0, 0, 0, 1)
    task.refresh_from_db()
    assert (task.status, task.handed_at is not None) == ("PENDING", True)
    assert list(TaskEvent.objects.filter(task=task).values_list("status", flat=True)) == ["PENDING"]
    assert commands.cancelled(SHOP) == [task.celery_id]
    report(SHOP, task.celery_id, Status.REVOKED, worker="celery@shop", message="revoked")
    record()
    task.refresh_from_db()
    assert task.status == "REVOKED"


def test_while_redis_is_away_what_may_have_been_handed_over_is_only_requested(
    shop: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(SHOP)
    survived = dispatched()
    due, later = (dispatched(not_before=timezone.now() + timedelta(hours=1)) for _ in range(2))
    Task.objects.filter(id=survived.id).update(handed_at=None)
    Task.objects.filter(id=due.id).update(not_before=timezone.now() - timedelta(seconds=1))

    def unreachable(*_: Any) -> None:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        for name in ("handed_over", "remember_cancelled", "waiting", "ask"):
            patch.setattr(commands, name, unreachable)
        assert cancel([survived.id, due.id, later.id], by="ann") == Cancelled(1, 0, 0, 2)
    statuses = Task.objects.in_bulk([survived.id, due.id, later.id])
    assert [statuses[task.id].status for task in (survived, due, later)] == ["PENDING", "SCHEDULED", "REVOKED"]
    requested_long_ago()
    RequestedCancellations().run_once()
    statuses = Task.objects.in_bulk([survived.id, due.id])
    assert [statuses[task.id].status for task in (survived, due)] == ["PENDING", "REVOKED"]
    assert commands.cancelled(SHOP) == [survived.celery_id]


def test_no_commands_pile_up_while_no_worker_reads_them(shop: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "WAITING_AT_MOST", 2)
    task = reported()
    for _ in range(4):
        assert cancel([task.id], by="ann").requested == 1
    assert (commands.waiting(SHOP), commands.cancelled(SHOP)) == (2, ["a"])


# --- Through the doors ---


def test_pages_api_and_command_say_what_was_passed_on(shop: Application, client: Client) -> None:
    tasks = {name: reported(name) for name in ("page", "one", "many", "dry", "id", "filter", "batch")}
    page = client.post("/tasks/act/cancel/", {"id": str(tasks["page"].id)}, follow=True)
    assert "1 passed on to their applications." in page.content.decode()
    answer = client.post("/api/v1/tasks/one/cancel", content_type="application/json").json()
    assert answer == {
        "matched": 1, "revoked": 0, "running": 0, "finished": 0, "requested": 1, "problems": [], "more": False,
        "dry_run": False,
    }  # fmt: skip
    body = {"ids": [str(tasks["many"].id)]}
    assert client.post("/api/v1/tasks/cancel", body, content_type="application/json").json()["requested"] == 1
    body = {"filter": {"q": "id:dry"}, "dry_run": True}
    assert client.post("/api/v1/tasks/cancel", body, content_type="application/json").json()["matched"] == 1
    out = StringIO()
    call_command("cancel", "id", str(tasks["batch"].id), "--yes", stdout=out)
    assert out.getvalue().strip() == "0 revoked, 0 running, 0 finished, 2 passed on to their applications"
    out = StringIO()
    call_command("cancel", "--queue", "payments", "--dry-run", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"would_cancel": 0}
    out = StringIO()
    call_command("cancel", "--queue", "payments", "--application", SHOP, "--yes", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"revoked": 0, "running": 0, "finished": 0, "requested": 7}


def test_a_tasks_page_offers_what_can_be_done(shop: Application, client: Client) -> None:
    open_task, ended = reported("open"), reported("ended")
    report(SHOP, "ended", Status.SUCCESS, result="1")
    record()
    later = dispatched(not_before=timezone.now() + timedelta(hours=1))

    def page(task: Task) -> str:
        return client.get(f"/tasks/{task.id}/").content.decode()

    assert "/tasks/act/cancel/" in page(open_task)
    assert "/tasks/act/again/" in page(ended)
    assert f"/tasks/{later.id}/edit/" in page(later)
    assert "cannot cancel" not in page(open_task)
    assert "&quot;application&quot;: &quot;shop&quot;" in page(ended), "no curl command"
    form = client.get(f"/tasks/{later.id}/edit/").content.decode()
    assert "Leave empty" in form
    client.post(f"/tasks/{later.id}/now/")
    later.refresh_from_db()
    assert later.not_before is not None
    assert later.not_before <= timezone.now()
    client.post("/tasks/act/again/", {"all": "1", "q": "application:shop", "status": "SUCCESS"})
    assert Task.objects.get(replay_of=ended).application == shop


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_list_of_ids_may_name_tasks_of_any_application(shop: Application, client: Client) -> None:
    bank = attach(BANK)
    own = Task.objects.get(id=dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0}), API).ids[0])
    shops, banks = reported("a"), reported("b", application=BANK)
    body = {"ids": [str(own.id), "a", str(banks.id), "unknown", "a"]}
    answer = client.post("/api/v1/tasks/cancel", {**body, "dry_run": True}, content_type="application/json")
    assert (answer.status_code, answer.json()["matched"]) == (200, 3)
    answer = client.post("/api/v1/tasks/cancel", body, content_type="application/json").json()
    assert (answer["revoked"], answer["requested"]) == (1, 2)
    assert set(Task.objects.exclude(cancel_requested_at=None).values_list("application", flat=True)) == {1, shop.pk, bank.pk}
    assert shops.celery_id == "a"
