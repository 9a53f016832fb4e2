"""The watch: one notification for each occurrence, however many engines look, and its end on the same one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from infra_app import nodes
from infra_app.states import NodeStatus
from infra_app.validation import Deployment
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.replay import discard
from tasks_app.models import DeadLetter, QueuePause, QueueSample
from tasks_app.models.dead_letter import Selection
from tasks_app.recording.apply import apply
from tests import hosts
from zenith_site.notify import inbox
from zenith_site.notify.decisions import Alert, Evaluation
from zenith_site.notify.kinds import NotificationKind, Severity
from zenith_site.notify.models import Notification
from zenith_site.notify.rules import Rule, rules
from zenith_site.notify.watch import FORGOTTEN, Watch, report
from zenith_worker.wire import clearing, heartbeat, keys, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)
ORIGIN = Origin(source="api")


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


def rule(kind: NotificationKind, **changes: Any) -> Rule:
    """The rule of a kind, whose conditions count at once and are over at once."""
    found = next(known for known in rules() if known.kind == kind)
    return Rule(
        kind,
        found.severity,
        changes.pop("evaluate", found.evaluate),
        for_=0.0,
        keep_firing_for=changes.pop("keep_firing_for", 0.0),
    )


def look(kind: NotificationKind) -> None:
    Watch([rule(kind)]).evaluate()


def fail(count: int = 1, message: str = "no answer") -> None:
    ids = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}, count=count), ORIGIN).ids
    apply(
        [
            Event(
                task_id=str(id_), status=Status.FAILURE, at=time.time(), result="{}", error_type="OSError",
                error_message=message, traceback="",
            )
            for id_ in ids
        ]
    )  # fmt: skip


def made(holding: Iterable[str] = (), over: Iterable[str] = ()) -> Evaluation:
    return Evaluation([Alert(key, f"{key} is up", "", "/") for key in holding], dict.fromkeys(over, "It is over."))


def write_down(found: Evaluation, keep_firing_for: float = 0.0) -> bool:
    with transaction.atomic():
        return report(rule(NotificationKind.QUEUE_AGE, keep_firing_for=keep_firing_for), found)


def aged(seconds: float) -> None:
    """Make all that was seen so many seconds older."""
    for notification in Notification.objects.all():
        notification.last_seen_at -= timedelta(seconds=seconds)
        notification.save()


# --- Each rule, on what Zenith knows ---


def test_a_new_cause_of_failures_is_told_once_and_counted() -> None:
    fail(2)
    look(NotificationKind.DEAD_LETTER)
    look(NotificationKind.DEAD_LETTER)
    fail(1)
    look(NotificationKind.DEAD_LETTER)
    found = Notification.objects.get()
    assert (found.title, found.body, found.count, found.over) == ("OSError in drill_sleep", "no answer", 3, False)
    assert found.link == f"/dead-letters/{found.key}/"
    assert found.severity == Severity.WARNING


def test_another_cause_is_another_notification() -> None:
    fail(message="no answer")
    fail(message="disk full")
    look(NotificationKind.DEAD_LETTER)
    assert sorted(Notification.objects.values_list("body", flat=True)) == ["disk full", "no answer"]


def test_a_cause_is_over_once_all_of_it_is_decided_and_news_when_it_fails_again() -> None:
    fail(3)
    look(NotificationKind.DEAD_LETTER)
    discard(Selection(fingerprint=DeadLetter.objects.all()[0].fingerprint), "", ORIGIN)
    look(NotificationKind.DEAD_LETTER)
    first = Notification.objects.get()
    assert first.over
    assert first.recovery == "All its dead letters were replayed or discarded."
    fail(1)
    look(NotificationKind.DEAD_LETTER)
    assert [found.over for found in Notification.objects.order_by("id")] == [True, False]


def test_a_cause_that_was_quiet_is_over_and_news_when_it_comes_back() -> None:
    fail(2)
    look(NotificationKind.DEAD_LETTER)
    DeadLetter.objects.update(created_at=timezone.now() - timedelta(hours=7))
    look(NotificationKind.DEAD_LETTER)
    assert "2 dead letters are still open" in Notification.objects.get().recovery
    fail(1)
    look(NotificationKind.DEAD_LETTER)
    assert Notification.objects.filter(recovered_at=None).count() == 1


def test_secrets_in_a_failure_are_hidden() -> None:
    fail(message="refused: password=hunter2 for ada")
    look(NotificationKind.DEAD_LETTER)
    assert "hunter2" not in str(Notification.objects.values())


def test_a_worker_that_vanished_is_told_until_it_beats_again() -> None:
    heartbeat.write("w1@here", slots=1, busy=0, queues=["default"])
    look(NotificationKind.WORKER_GONE)
    assert not Notification.objects.exists()
    stream.client().pexpire("zenith:worker:w1@here", int((heartbeat.KEPT - 40) * 1000))
    look(NotificationKind.WORKER_GONE)
    assert Notification.objects.get().title == "Worker w1@here is lost"
    heartbeat.write("w1@here", slots=1, busy=0, queues=["default"])
    look(NotificationKind.WORKER_GONE)
    assert Notification.objects.get().recovery == "The worker is back online."


def test_a_worker_that_somebody_cleared_is_told_of_no_more() -> None:
    heartbeat.write("w1@here", slots=1, busy=0, queues=["default"])
    stream.client().pexpire(keys.WORKER + "w1@here", int((heartbeat.KEPT - 40) * 1000))
    look(NotificationKind.WORKER_GONE)
    assert clearing.clear("w1@here", "ada") == clearing.Clearing.CLEARED
    look(NotificationKind.WORKER_GONE)
    assert Notification.objects.get().recovery == "ada cleared it."


def test_a_worker_that_said_goodbye_is_not_missed() -> None:
    heartbeat.write("w1@here", slots=1, busy=0, queues=["default"])
    heartbeat.forget("w1@here")
    look(NotificationKind.WORKER_GONE)
    assert not Notification.objects.exists()


def test_a_queue_is_told_from_the_samples_unless_it_is_paused() -> None:
    minute = timezone.now().replace(second=0, microsecond=0)
    for name, age in (("slow", 400.0), ("paused", 4000.0), ("well", 3.0)):
        QueueSample.objects.create(minute=minute, queue=name, depth=5, unacknowledged=0, oldest_seconds=age)
    QueuePause.objects.create(queue="paused", paused_at=timezone.now())
    look(NotificationKind.QUEUE_AGE)
    found = Notification.objects.get()
    assert (found.key, found.link) == ("slow", "/queues/of/slow/")
    QueueSample.objects.filter(queue="slow").update(oldest_seconds=None, depth=0)
    look(NotificationKind.QUEUE_AGE)
    assert Notification.objects.get().over


def test_a_recorder_that_is_behind_is_told_until_it_is_not() -> None:
    client = stream.client()
    client.xadd(keys.EVENTS, {"e": "[]"}, id=f"{int(time.time() * 1000) - 60_000}-0")
    look(NotificationKind.STREAM_LAG)
    assert Notification.objects.get().severity == Severity.CRITICAL
    client.delete(keys.EVENTS)
    look(NotificationKind.STREAM_LAG)
    assert Notification.objects.get().over


def test_a_node_that_failed_is_told_until_it_is_ready_again() -> None:
    hosts.host()
    group = nodes.deploy(Deployment(name="reports"), "ada")
    (node,) = group.nodes.all()
    hosts.observed(node, NodeStatus.FAILED, reason="There is no such image.")
    look(NotificationKind.NODE_FAILED)
    found = Notification.objects.get()
    assert (found.title, found.body, found.severity) == (f"Node {node.name} failed", "There is no such image.", "critical")
    assert found.link == f"/nodes/{node.id}/"
    hosts.observed(node, NodeStatus.READY, reason="")
    look(NotificationKind.NODE_FAILED)
    assert Notification.objects.get().recovery == "The node is ready."


def test_a_host_whose_agent_is_silent_is_told_and_one_that_stopped_is_not() -> None:
    hosts.host("silent", seen_at=timezone.now() - timedelta(seconds=90))
    hosts.host("stopped", seen_at=None)
    hosts.host("well")
    look(NotificationKind.HOST_UNREACHABLE)
    found = Notification.objects.get()
    assert (found.title, found.link) == ("Host silent is unreachable", "/nodes/")
    hosts.host("silent")
    look(NotificationKind.HOST_UNREACHABLE)
    assert Notification.objects.get().recovery == "The host is reachable again."


# --- What every rule shares ---


def test_what_comes_and_goes_is_one_until_it_has_been_away_for_some_time() -> None:
    write_down(made(["q"]))
    aged(30)
    assert not write_down(made(over=["q"]), keep_firing_for=60)
    assert not write_down(made(["q"]))
    assert Notification.objects.get().count == 2
    aged(61)
    assert write_down(made(over=["q"]), keep_firing_for=60)
    assert Notification.objects.get().over


def test_what_just_goes_on_is_counted_once() -> None:
    for _ in range(3):
        write_down(made(["q"]))
    assert Notification.objects.get().count == 1


def test_what_nothing_is_known_of_stays_and_is_closed_after_a_day() -> None:
    write_down(made(["w"]))
    aged(23 * 3600)
    assert not write_down(made())
    aged(3600 + 1)
    assert write_down(made())
    assert Notification.objects.get().recovery == FORGOTTEN


def test_a_condition_has_to_last_where_the_rule_says_so() -> None:
    always = Rule(NotificationKind.QUEUE_AGE, Severity.WARNING, lambda _: made(["q"]), for_=3600.0)
    watch = Watch([always])
    watch.evaluate()
    watch.evaluate()
    assert not Notification.objects.exists()
    Watch([rule(NotificationKind.QUEUE_AGE, evaluate=lambda _: made(["q"]))]).evaluate()
    watch.evaluate()
    assert Notification.objects.get().count == 1


def test_two_engines_at_once_make_one_notification() -> None:
    together = threading.Barrier(2)

    def seen(_: frozenset[str]) -> Evaluation:
        return made(["q", "r"])

    def engine() -> None:
        watch = Watch([rule(NotificationKind.QUEUE_AGE, evaluate=seen)])
        for _ in range(10):
            together.wait(timeout=10)
            watch.evaluate()
        connection.close()

    engines = [threading.Thread(target=engine) for _ in range(2)]
    for thread in engines:
        thread.start()
    for thread in engines:
        thread.join(timeout=30)
    assert sorted(Notification.objects.values_list("key", flat=True)) == ["q", "r"]


def test_while_one_engine_looks_another_does_not() -> None:
    inside, go_on = threading.Event(), threading.Event()
    looked = []

    def slow(_: frozenset[str]) -> Evaluation:
        inside.set()
        go_on.wait(timeout=10)
        return made(["q"])

    def engine() -> None:
        Watch([rule(NotificationKind.QUEUE_AGE, evaluate=slow)]).evaluate()
        connection.close()

    first = threading.Thread(target=engine)
    first.start()
    assert inside.wait(timeout=10)
    Watch([rule(NotificationKind.QUEUE_AGE, evaluate=lambda keys: looked.append(keys) or made(["q"]))]).evaluate()  # type: ignore[func-returns-value]
    go_on.set()
    first.join(timeout=10)
    assert looked == []
    assert Notification.objects.count() == 1


def test_the_constraint_keeps_a_second_open_one_out() -> None:
    write_down(made(["q"]))
    found = Notification.objects.get()
    found.pk = None
    with pytest.raises(IntegrityError):
        found.save(force_insert=True)


def test_a_rule_that_cannot_be_looked_at_does_not_stop_the_others() -> None:
    def broken(_: frozenset[str]) -> Evaluation:
        raise OperationalError("away")

    watch = Watch(
        [rule(NotificationKind.QUEUE_AGE, evaluate=broken), rule(NotificationKind.STREAM_LAG, evaluate=lambda _: made(["s"]))]
    )
    with pytest.raises(OperationalError):
        watch.evaluate()
    assert Notification.objects.get().key == "s"


def test_old_ones_are_pruned_by_age_and_by_number_and_those_that_hold_last(settings: Any) -> None:
    write_down(made(["holds", "ended", "old"]))
    write_down(made(over=["ended", "old"]))
    Notification.objects.filter(key="old").update(recovered_at=timezone.now() - timedelta(days=31))
    assert (inbox.count_prunable(), inbox.prune()) == (1, 1)
    settings.ZENITH_NOTIFICATION_MAX = 1
    assert (inbox.count_prunable(), inbox.prune()) == (1, 1)
    assert Notification.objects.get().key == "holds"
