"""Two real engines at once, with a receiver that goes away and comes back: each thing is told once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.replay import discard
from tasks_app.models.dead_letter import Selection
from tasks_app.recording.apply import apply
from tests import stack as stacks
from tests.processes import free_port
from tests.sinks import WebSink, web_sink
from tests.stack import Stack
from tests.waiting import eventually
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Delivery, DeliveryState, Notification
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)
PORT = free_port()
PARTS = ("--only", "notifications", "--only", "outbox", "--only", "recorder")


@pytest.fixture(scope="module")
def engines(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    changes = {
        "ZENITH_NOTIFY_WEBHOOK_URL": f"http://127.0.0.1:{PORT}/", "ZENITH_NOTIFY_WEBHOOK_SECRET": "a secret of sixteen or more",
        "ZENITH_NOTIFY_THROTTLE": "0", "ZENITH_NOTIFY_WORKER_GONE": "10",
    }  # fmt: skip
    for stack in stacks.running(tmp_path_factory.mktemp("engines"), **changes):
        for name in ("one", "other"):
            stack.engine(name, *PARTS)
        yield stack


def fail() -> None:
    ids = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}), Origin(source="api")).ids
    event = Event(
        task_id=str(ids[0]), status=Status.FAILURE, at=time.time(), result="{}", error_type="OSError", error_message="x"
    )
    apply([event])


def told(sink: WebSink) -> list[tuple[str, str]]:
    return [
        (posted.json["type"], notification["title"])
        for posted in sink.posted
        for notification in posted.json["data"]["notifications"]
    ]


def settled(count: int) -> bool:
    states = list(Delivery.objects.values_list("state", flat=True))
    return states == [DeliveryState.SENT] * count


def test_a_failure_and_its_end_are_told_once_also_to_a_receiver_that_was_away(engines: Stack) -> None:
    fail()
    eventually(lambda: Delivery.objects.filter(attempts__gte=1), but=engines.news)
    discard(Selection(), "", Origin(source="api"))
    eventually(lambda: Notification.objects.filter(recovered_at__isnull=False), but=engines.news)
    with web_sink(PORT) as sink:
        eventually(lambda: settled(2), within=60, but=engines.news)
    assert told(sink) == [("notification.opened", "OSError in drill_sleep"), ("notification.recovered", "OSError in drill_sleep")]
    assert len({posted.headers["webhook-id"] for posted in sink.posted}) == 2
    assert Notification.objects.count() == 1


def test_a_worker_that_vanishes_is_told_once_by_several_engines(engines: Stack) -> None:
    heartbeat.write("w1@gone", slots=1, busy=0, queues=["default"])
    with web_sink(PORT) as sink:
        eventually(lambda: settled(1), within=60, but=engines.news)
        assert told(sink) == [("notification.opened", "Worker w1@gone is lost")]
    assert Notification.objects.get().kind == NotificationKind.WORKER_GONE
    stream.client().delete("zenith:workers")
