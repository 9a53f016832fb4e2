"""A watched application: nothing of it is changed, and all its tasks are recorded by what it tells everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.maintenance import applications
from tasks_app.models import Application, Attempt, Task, TaskEvent
from tasks_app.watching import observer_state
from tasks_app.watching.applications import Watch, remove, watch
from tasks_app.watching.observers import Observers
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.rabbitmq import RabbitMQ, running
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
    keys = [key.decode() for key in redis.Redis.from_url(here.broker).scan_iter()]
    assert [key for key in keys if not key.startswith(CELERYS_OWN) and not key.endswith(".reply.celery.pidbox")] == []
    state = observer_state.read("shop")
    assert state is not None
    assert (state.lost, state.odd) == (0, 0)


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
    finally:
        here.stop()
        observers.stop()
