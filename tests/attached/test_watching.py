"""A watched application: nothing of it is changed, and all its tasks are recorded by what it tells everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tasks_app.diagnosis.gather import diagnosis_of
from tasks_app.models import Application, Attempt, Task
from tasks_app.watching import observer_state
from tasks_app.watching.applications import Watch, watch
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
        application = Application.objects.get(name="shop")
        # Its queues are as Celery declares them, and its RabbitMQ says nothing of itself.
        eventually(lambda: look(observers) and "classic-queues" in {one.rule for one in diagnosis_of(application).findings})
        assert "eviction" in {rule.id for rule in diagnosis_of(application).unknown}
    finally:
        here.stop()
        observers.stop()
