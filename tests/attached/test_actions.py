"""From Zenith's dispatch to an application's own worker and back: nothing of it is simulated."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tasks_app import catalog
from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.hand_over import HandOver
from tasks_app.dispatch.replay import Replay, replay
from tasks_app.dispatch.rerun import run_again
from tasks_app.errors import InvalidDispatchError
from tasks_app.maintenance import catalogues
from tasks_app.models import Application, DeadLetter, Task, TaskEvent
from tasks_app.models.dead_letter import Selection
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.waiting import eventually
from zenith_site.common.engine import loops

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

API = Origin(source="api", sent_by="ann")


@pytest.fixture
def here(shop: Callable[[str], Shop]) -> Iterator[Shop]:
    """The application, which Zenith knows."""
    made = shop("5.7")
    made.worker("shop@one", "-c", "1", "--prefetch-multiplier", "1")
    catalog.forget()
    eventually(lambda: record() and told(), but=lambda: made.log[-4000:])
    yield made
    catalog.forget()


def told() -> bool:
    """Whether Zenith knows the application's tasks."""
    catalogues.take_in()
    application = Application.objects.filter(name="shop").first()
    if application is not None and "shop.add" not in catalog.entries(application):
        catalog.forget()
        return False
    return application is not None


def sent(name: str, **kwargs: object) -> Task:
    return Task.objects.get(id=dispatch(Dispatch(task=name, application="shop", kwargs=kwargs), API).ids[0])


def reaches(task: Task, status: str, here: Shop) -> Task:
    """The task's row, once it is in a status."""
    eventually(
        lambda: record() and Task.objects.get(id=task.id).status == status,
        but=lambda: f"{Task.objects.get(id=task.id).status}\n{here.log[-4000:]}",
    )
    return Task.objects.get(id=task.id)


def test_its_tasks_are_dispatched_cancelled_run_again_and_replayed(here: Shop) -> None:
    done = reaches(sent("shop.add", x=1, y=2), "SUCCESS", here)
    assert (done.queue, done.worker, done.source) == ("celery", "shop@one", "api")
    assert list(TaskEvent.objects.filter(task=done).order_by("position").values_list("status", flat=True)) == [
        "PENDING", "QUEUED", "RECEIVED", "STARTED", "SUCCESS",
    ]  # fmt: skip
    with pytest.raises(InvalidDispatchError):
        sent("shop.add", x=1)

    again = run_again(done.id, API)
    assert again is not None
    reaches(Task.objects.get(id=again), "SUCCESS", here)

    failed = reaches(sent("shop.fail", message="no stock"), "FAILURE", here)
    assert (failed.error_type, failed.error_message) == ("ValueError", "no stock")
    letter = DeadLetter.objects.get(task=failed)
    (replacement,) = replay(Replay(selection=Selection(task_ids=[failed.id]), kwargs={"message": "still none"}), API).done
    assert reaches(Task.objects.get(id=replacement.new), "FAILURE", here).error_message == "still none"
    letter.refresh_from_db()
    assert letter.state == "REPLAYED"

    running = reaches(sent("shop.slow", seconds=30), "STARTED", here)
    waiting = sent("shop.add", x=3, y=4)
    reaches(waiting, "QUEUED", here)
    assert cancel([waiting.id, running.id], by="ann", force=True).requested == 2
    reaches(running, "REVOKED", here)
    reaches(waiting, "REVOKED", here)
    runs = here.read("LRANGE", "shop:runs", "0", "-1")
    assert waiting.celery_id.encode() not in runs
    assert len(runs) == len(set(runs)) == 5, "each other one once"


def test_what_waits_for_a_worker_is_sent_once_one_is_there(here: Shop) -> None:
    here.stop()
    task = sent("shop.add", x=1, y=2)
    assert HandOver().run_once() == 0
    here.worker("shop@two", "-c", "1")
    stop = threading.Event()
    relay = threading.Thread(target=loops()["relay"], args=(stop,))
    relay.start()
    try:
        assert reaches(task, "SUCCESS", here).worker == "shop@two"
    finally:
        stop.set()
        relay.join()
    assert here.read("LRANGE", "shop:runs", "0", "-1") == [task.celery_id.encode()]
