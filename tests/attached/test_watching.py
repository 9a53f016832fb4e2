"""A watched application: nothing of it is changed, and all its tasks are recorded by what it tells everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from amqp.exceptions import NotFound
from celery import Celery
from django.contrib.auth.models import User
from django.test import Client
from kombu import Connection, Producer, Queue

from tasks_app.control import workers as control
from tasks_app.diagnosis.gather import diagnosis_of
from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.cancelled import Cancelled
from tasks_app.maintenance import applications
from tasks_app.models import Application, Attempt, Task, TaskEvent
from tasks_app.watching import looks, observer_state, queue_state
from tasks_app.watching.applications import Watch, remove, watch
from tasks_app.watching.looks import NotSeenError
from tasks_app.watching.observers import Observers
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.attached.test_control import assert_obeys, beat
from tests.rabbitmq import RabbitMQ, running
from tests.servers import IS_LONG
from tests.waiting import eventually
from zenith_worker.wire import heartbeat
from zenith_worker.wire.ids import key_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

#: The status and the attempt of each task that watched.py sends.
EXPECTED = {
    "plain": ("SUCCESS", 1), "named": ("SUCCESS", 1), "failing": ("FAILURE", 1), "flaky": ("SUCCESS", 3),
    "hopeless": ("FAILURE", 3),
    "rejected": ("FAILURE", 1), "requeued": ("SUCCESS", 1), "replaced": ("SUCCESS", 1), "expired": ("REVOKED", 1),
    "later": ("SUCCESS", 1), "dies_once": ("SUCCESS", 1), "slow": ("SUCCESS", 1), "chained": ("SUCCESS", 1),
    "first": ("SUCCESS", 1), "header": ("SUCCESS", 1), "body": ("SUCCESS", 1), "revoked": ("REVOKED", 1),
}  # fmt: skip
#: What Celery's and kombu's own event receiver, remote control and workers write into a broker.
CELERYS_OWN = ("_kombu.binding", "unacked", "celery", "slow")


@pytest.fixture
def observers() -> Iterator[Observers]:
    here = Observers()
    yield here
    here.stop()


def look(observers: Observers) -> bool:
    observers.run_once()
    return record()


def watched(here: Shop, observers: Observers) -> Application:
    """The application, watched, with a worker that was told nothing of it."""
    application, _ = watch("shop", Watch(url=here.broker))
    here.worker("shop@one", "-c", "4", attached=False)
    eventually(lambda: look(observers) and (state := observer_state.read("shop")) is not None and state.listens)
    # It sends no events by itself (`-E`).
    eventually(lambda: any(not beat.unknown for beat in heartbeat.read_all("shop")), but=lambda: here.log[-4000:])
    return application


def assert_all_recorded(here: Shop, observers: Observers) -> dict[str, Task]:
    ids: dict[str, Any] = here.run("watched.py", attached=False)

    def shown() -> dict[str, tuple[str, int]]:
        rows = {row.pk: row for row in Task.objects.filter(application__name="shop")}
        return {name: (rows[key].status, rows[key].attempt) for name, id_ in ids.items() if (key := key_of(id_, "shop")) in rows}

    eventually(
        lambda: look(observers) and shown() == EXPECTED,
        but=lambda: f"{ {name: item for name, item in shown().items() if EXPECTED[name] != item} }\n{here.log[-3000:]}",
    )
    return {name: Task.objects.get(pk=key_of(id_, "shop")) for name, id_ in ids.items()}


def test_a_watched_application_on_redis_is_recorded_and_not_touched(shop: Callable[[str], Shop], observers: Observers) -> None:
    here = shop("5.7")
    application = watched(here, observers)
    rows = assert_all_recorded(here, observers)
    assert {row.worker for row in rows.values()} == {"shop@one"}
    assert (rows["plain"].name, rows["plain"].args, rows["named"].text_id) == ("shop.add", [4, 5], "nightly/1 \N{SNOWMAN}")
    assert (rows["failing"].error_type, rows["failing"].error_message) == ("ValueError", "no tea")
    tracebacks = Attempt.objects.filter(task=rows["hopeless"]).order_by("attempt").values_list("traceback", flat=True)
    assert [text.rstrip().rpartition("\n")[2] for text in tracebacks] == [f"ValueError: attempt {number}" for number in range(3)]
    assert rows["later"].not_before is not None
    assert rows["slow"].runtime is not None
    assert rows["slow"].runtime >= 0.5
    [beat] = heartbeat.read_all("shop")
    assert (beat.name, beat.slots, beat.pool, set(beat.queues)) == ("shop@one", 4, "prefork", {"celery", "slow"})
    observers.note()
    application.refresh_from_db()
    assert application.last_heard_at is not None
    assert application.celery_version.startswith("5.7")
    # They are measured every five seconds, and a quick worker needs less.
    eventually(
        lambda: look(observers) and {name: queue.depth for name, queue in queue_state.read("shop").items()}
        == {"celery": 0, "slow": 0}
    )  # fmt: skip
    assert foreign_keys(here) == []
    state = observer_state.read("shop")
    assert state is not None
    assert (state.lost, state.odd) == (0, 0)


def foreign_keys(here: Shop) -> list[str]:
    """What is in the application's broker and not of Celery's own."""
    keys = [key.decode() for key in redis.Redis.from_url(here.broker).scan_iter()]
    return [key for key in keys if not key.startswith(CELERYS_OWN) and not key.endswith(".reply.celery.pidbox")]


@pytest.mark.parametrize("version", ["5.7", *(["5.3"] if IS_LONG else [])])
def test_its_workers_obey_through_its_observer(
    version: str, shop: Callable[[str], Shop], observers: Observers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.watching.asking.ROUND", 0.3)
    monkeypatch.setattr("tasks_app.watching.asking.INSPECT_EVERY", 2.0)
    here = shop(version)
    watch("shop", Watch(url=here.broker))
    for name, slots in (("shop@one", "2"), ("shop@two", "1")):
        here.worker(name, "-c", slots, attached=False)
    eventually(
        lambda: look(observers) and all((found := beat(name)) and not found.unknown for name in ("shop@one", "shop@two")),
        but=lambda: here.log[-4000:],
    )
    assert_obeys(here, "prefork")

    running = sent(here, "slow", "shop.slow", 30)
    keys = [key_of(id_, "shop") for id_ in (running, sent(here, "celery", "shop.add", 1, 2))]

    def reaches(*statuses: str) -> bool:
        look(observers)
        return [Task.objects.filter(pk=key).values_list("status", flat=True).first() for key in keys] == [*statuses]

    eventually(lambda: reaches("STARTED", "RECEIVED"), but=lambda: here.log[-4000:])
    assert cancel(keys, by="ann") == Cancelled(0, 0, 0, 2)
    assert cancel(keys[:1], by="ann", force=True) == Cancelled(0, 0, 0, 1)
    eventually(lambda: reaches("REVOKED", "REVOKED"), but=lambda: here.log[-4000:])
    asked = set(TaskEvent.objects.filter(position__lt=0).values_list("task", "message"))
    assert asked == {
        (keys[0], "stopping it was asked for by ann"),
        *((key, "cancelling it was asked for by ann") for key in keys),
    }
    assert here.read("LRANGE", "shop:runs", "0", "-1") == [running.encode()]
    assert foreign_keys(here) == []


def sent(here: Shop, queue: str, name: str, *args: object) -> str:
    """The id of a task that another program has sent to the application."""
    with closing(Celery(broker=here.broker, set_as_current=False)) as app:
        return str(app.send_task(name, args, queue=queue).id)


def test_a_watched_application_is_attached_in_place_and_recorded_once(
    shop: Callable[[str], Shop], observers: Observers, client: Client
) -> None:
    here = shop("5.7")
    watch("shop", Watch(url=here.broker))
    eventually(lambda: look(observers) and (state := observer_state.read("shop")) is not None and state.listens)
    # The observer does not know yet that it reports by itself.
    here.worker("shop@one", "-c", "2")
    eventually(lambda: any(beat.online and not beat.watched for beat in heartbeat.read_all("shop")), but=lambda: here.log[-4000:])

    def rows() -> list[Task]:
        return list(Task.objects.filter(application__name="shop", status__in=("SUCCESS", "FAILURE")))

    for number in (1, 2):
        here.run("-c", "import shop; print([len(task.delay(2).id) for task in (shop.flaky, shop.fail)])", attached=False)
        eventually(lambda number=number: look(observers) and len(rows()) == 2 * number, but=lambda: here.log[-4000:])
        eventually(lambda: look(observers) and any(one.workers.is_attached("shop@one") for one in observers.running.values()))
    for row in rows():
        told = list(
            TaskEvent.objects.filter(task=row, status__in=("STARTED", "RETRY", "SUCCESS", "FAILURE")).order_by("position")
        )
        tries = 3 if row.name == "shop.flaky" else 1
        assert [event.status for event in told] == [*["STARTED", "RETRY"] * (tries - 1), "STARTED", row.status], told
        assert row.attempt == tries
        # As the worker reports it: events have Python's text of it.
        assert row.args == [2]
    client.force_login(User.objects.create_superuser("root"))
    page = client.get("/applications/shop/").content.decode()
    assert "All its workers online are" in page
    assert "by its own reports, and no longer from its events" in " ".join(page.split())
    remove("shop")
    eventually(lambda: applications.take_in() or Application.objects.get(name="shop").kind == "attached")
    assert len(rows()) == 4


def test_a_watched_application_on_rabbitmq_is_recorded(
    tmp_path_factory: pytest.TempPathFactory, shop: Callable[[str], Shop], observers: Observers
) -> None:
    with running(tmp_path_factory.mktemp("rabbitmq") / "node") as server:
        _on_rabbitmq(server, shop("5.7"), observers)


def _on_rabbitmq(server: RabbitMQ, here: Shop, observers: Observers) -> None:
    here.broker = server.url(server.hosts[0])
    watched(here, observers)
    try:
        assert_all_recorded(here, observers)
        assert_queues_are_measured(here, observers)
        assert control.ping("shop@one", "shop").answer == "pong"
        assert "new rate limit" in control.limit_rate("shop@one", "shop.add", "10/m", "shop").answer
        application = Application.objects.get(name="shop")
        # Its queues are as Celery declares them, and its RabbitMQ says nothing of itself.
        eventually(lambda: look(observers) and "classic-queues" in {one.rule for one in diagnosis_of(application).findings})
        assert "eviction" in {rule.id for rule in diagnosis_of(application).unknown}
    finally:
        here.stop()
        observers.stop()


def assert_queues_are_measured(here: Shop, observers: Observers) -> None:
    """RabbitMQ tells of queues that are consumed and that are not; one that is not there hides no other, and is not made."""
    with Connection(here.broker) as connection:
        producer = Producer(connection)
        Queue("idle", channel=connection, queue_arguments={"x-queue-type": "quorum"}).declare()
        for number in range(3):
            producer.publish({"number": number}, routing_key="idle")
    [observer] = observers.running.values()
    for name in ("absent", "idle"):
        observer.queues.hear(name)

    def found() -> dict[str, tuple[int | None, int | None, bool]]:
        return {name: (queue.depth, queue.consumers, queue.missing) for name, queue in queue_state.read("shop").items()}

    expected = {
        "celery": (0, 1, False), "slow": (0, 1, False), "idle": (3, 0, False), "absent": (None, None, True),
    }  # fmt: skip
    eventually(lambda: found() == expected, but=found)
    with Connection(here.broker) as connection, pytest.raises(NotFound):
        connection.default_channel.queue_declare("absent", passive=True)
    with pytest.raises(NotSeenError, match="RabbitMQ shows no message"):
        looks.look("shop", "idle", 5)
