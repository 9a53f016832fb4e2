"""Somebody's Celery application: it knows nothing of Zenith. Its tasks write each of their runs into a list in its own Redis."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery, Task, signals
from celery.backends.redis import RedisBackend
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from celery.worker.request import Request

app = Celery("shop", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_RESULTS"])
app.conf.update(
    task_routes={name: {"queue": "slow"} for name in ("shop.slow", "shop.order")},
    result_extended=True, accept_content=["json", "pickle"],
    broker_connection_retry_on_startup=True, worker_max_tasks_per_child=20,
)  # fmt: skip
RUNS = "shop:runs"
SENT = "shop:sent"
store = redis.Redis.from_url(os.environ["SHOP_RESULTS"])
#: Seconds after which a process kills itself: what it reported of its tasks before must have been sent.
DIES_AFTER = 0.5
app.conf.update(worker_lost_wait=1)
app.conf.update(json.loads(os.environ.get("SHOP_SETTINGS", "{}")))


def hears(name: str) -> Callable[..., None]:
    """Return the application's own handler of a signal of Celery's, which notes that it was called."""

    def note(sender: Any = None, task_id: str | None = None, request: Any = None, **_: Any) -> None:
        store.rpush(f"shop:heard:{task_id or (request or sender.request).id}", name)

    return note


for heard in ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry", "task_revoked"):
    getattr(signals, heard).connect(hears(heard), weak=False)


class Noted(Task):
    """The application's own base class, which notes every run."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        store.rpush(RUNS, self.request.id or "without a message of its own")
        return super().__call__(*args, **kwargs)

    def before_start(self, task_id: str, *_: Any) -> None:
        """Note Celery's own call."""
        store.rpush(f"shop:heard:{task_id}", "before_start")

    def on_success(self, retval: Any, task_id: str, *_: Any) -> None:
        """Note Celery's own call."""
        store.rpush(f"shop:heard:{task_id}", "on_success")

    def on_failure(self, exc: Exception, task_id: str, *_: Any) -> None:
        """Note Celery's own call."""
        store.rpush(f"shop:heard:{task_id}", "on_failure")

    def on_retry(self, exc: Exception, task_id: str, *_: Any) -> None:
        """Note Celery's own call."""
        store.rpush(f"shop:heard:{task_id}", "on_retry")

    def after_return(self, status: str, retval: Any, task_id: str, *_: Any) -> None:
        """Note Celery's own call."""
        store.rpush(f"shop:heard:{task_id}", f"after_return {status}")


class Ordered(Noted):
    """A base class with its own way of sending."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        store.rpush(SENT, options.get("task_id") or "")
        return super().apply_async(args, kwargs, **options)


class OwnRequest(Request):
    """The application's own class of requests."""

    def on_accepted(self, *args: Any, **options: Any) -> Any:
        """Note that it was here."""
        store.set(f"shop:own-request:{self.id}", 1)
        return super().on_accepted(*args, **options)


class Special(Noted):
    """A base class with a request class."""

    abstract = True
    Request = OwnRequest


task = app.task(base=Noted)


@app.task(base=Noted, name="shop.add")
def add(x: Any, y: Any) -> Any:
    return x + y


@app.task(base=Noted, name="shop.total")
def total(numbers: list[Any]) -> Any:
    return sum(numbers)


@app.task(base=Noted, name="shop.slow")
def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(base=Ordered, name="shop.order", bind=True)
def order(self: Task, number: int) -> list[Any]:
    """Order something."""
    return [number, self.request.delivery_info["routing_key"], self.request.root_id == self.request.id, self.request.headers]


@app.task(base=Noted, name="shop.tells")
def tells() -> None:
    """Log in each way."""
    logging.getLogger("shop.orders").info("an order with password=%s", "hunter2")
    get_task_logger("shop").warning("of Celery's logger")
    print("printed")  # noqa: T201


@app.task(base=Noted, name="shop.confidential", zenith_logs=False)
def confidential() -> None:
    """Log what stays here."""
    logging.getLogger("shop.orders").warning("confidential")


@app.task(base=Noted, name="shop.fail")
def fail(message: str = "no stock") -> None:
    raise ValueError(message)


@app.task(base=Noted, name="shop.quiet", ignore_result=True)
def quiet(fails: bool = False) -> str:
    if fails:
        raise ValueError("quietly")
    return "unseen"


@app.task(base=Noted, name="shop.flaky", bind=True, autoretry_for=(ValueError,), max_retries=2, default_retry_delay=0.1)
def flaky(self: Task, times: int) -> list[Any]:
    if self.request.retries < times:
        raise ValueError(f"attempt {self.request.retries}")
    return [self.request.retries, sorted(self.request.headers or {})]


@app.task(base=Noted, name="shop.again", bind=True, ignore_result=True)
def again(self: Task) -> str:
    if not self.request.retries:
        raise self.retry(exc=KeyError("once"), countdown=0.1)
    return "twice"


@app.task(base=Noted, name="shop.ignored")
def ignored() -> None:
    raise Ignore("not today")


@app.task(base=Noted, name="shop.rejected", acks_late=True)
def rejected() -> None:
    raise Reject("unwanted", requeue=False)


@app.task(base=Noted, name="shop.replaced", bind=True)
def replaced(self: Task, number: int) -> None:
    raise self.replace(add.s(number, 1))


@app.task(base=Noted, name="shop.replaced_by_group", bind=True)
def replaced_by_chord(self: Task) -> None:
    from celery import chord

    raise self.replace(chord([add.s(1, 1), add.s(2, 2)], total.s()))


@app.task(base=Noted, name="shop.odd_result")
def odd_result() -> object:
    return object()


@app.task(base=Noted, name="shop.hard_limit", time_limit=1)
def hard_limit() -> None:
    time.sleep(30)


@app.task(base=Noted, name="shop.soft_limit", soft_time_limit=1)
def soft_limit() -> str:
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "never"


@app.task(base=Special, name="shop.special", bind=True)
def special(self: Task) -> list[str]:
    return [type(self).__module__, type(self).__qualname__, Special in type(self).__mro__, self.name]


@app.task(base=Noted, name="shop.parent", bind=True)
def parent(self: Task) -> str:
    return str(add.delay(5, 5).id)


@app.task(base=Noted, name="shop.headers", bind=True)
def headers(self: Task) -> Any:
    return self.request.headers


@app.task(base=Noted, name="shop.progress", bind=True)
def progress(self: Task) -> str:
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 2})
    return "done"


@app.task(base=Noted, name="shop.export")
def export(count: int) -> int:
    """Count, with the helper of a Zenith that may not be installed."""
    try:
        from zenith_worker import progress
    except ImportError:
        return sum(range(count))
    return sum(progress(range(count)))


class OutOfStockError(Exception):
    """An error of the application's own, which pickle cannot make again."""

    def __init__(self, item: str, *, left: int) -> None:
        super().__init__(f"{left} of {item} are left")


@app.task(base=Noted, name="shop.out_of_stock")
def out_of_stock() -> None:
    raise OutOfStockError("tea", left=0)


@app.task(base=Noted, name="shop.expected", throws=(KeyError,))
def expected() -> None:
    raise KeyError("nobody is surprised")


@app.task(base=Noted, name="shop.otherwise", bind=True, max_retries=3)
def otherwise(self: Task, number: int) -> list[Any]:
    if self.request.retries < 2:
        raise self.retry(args=(number + 1,), countdown=0.1, queue="slow")
    return [number, self.request.delivery_info["routing_key"]]


@app.task(base=Noted, name="shop.goes_on", bind=True)
def goes_on(self: Task) -> str:
    """Send the next attempt, and go on to the end."""
    if not self.request.retries:
        self.retry(countdown=0.5, throw=False)
    return f"attempt {self.request.retries}"


@app.task(base=Noted, name="shop.late_once", bind=True, acks_late=True, acks_on_timeout=False, time_limit=1)
def late_once(self: Task) -> str:
    """Exceed the time limit once; with Celery 5.7 the message goes back then."""
    if store.incr(f"shop:late:{self.request.id}") < 2:
        time.sleep(30)
    return "in time"


@app.task(base=Noted, name="shop.exits_once", bind=True, acks_late=True, reject_on_worker_lost=True)
def exits_once(self: Task) -> str:
    if store.incr(f"shop:exits:{self.request.id}") < 2:
        raise SystemExit(3)
    return "stays"


@app.task(base=Noted, name="shop.sent_anew", bind=True, retry_on_worker_lost=True, default_retry_delay=0.1)
def sent_anew(self: Task) -> str:
    """Die once; Celery 5.7 sends the next attempt then."""
    if not self.request.retries:
        time.sleep(DIES_AFTER)
        os.kill(os.getpid(), signal.SIGKILL)
    return f"attempt {self.request.retries}"


@app.task(base=Noted, name="shop.replaced_by_chain", bind=True)
def replaced_by_chain(self: Task, number: int) -> None:
    """Put a chain in its place, whose last task puts another task in its place."""
    raise self.replace(add.s(number, 1) | replaced.s())


@app.task(base=Noted, name="shop.requeued", bind=True, acks_late=True)
def requeued(self: Task) -> str:
    if store.incr(f"shop:requeued:{self.request.id}") < 2:
        raise Reject("not now", requeue=True)
    return "now"


@app.task(base=Noted, name="shop.dies")
def dies() -> None:
    time.sleep(DIES_AFTER)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(base=Noted, name="shop.dies_once", bind=True, acks_late=True, reject_on_worker_lost=True)
def dies_once(self: Task) -> str:
    if store.incr(f"shop:died:{self.request.id}") < 2:
        time.sleep(DIES_AFTER)
        os.kill(os.getpid(), signal.SIGKILL)
    return "lives"


@app.task(base=Noted, name="shop.stays_once", bind=True, acks_late=True)
def stays_once(self: Task) -> str:
    if store.incr(f"shop:stays:{self.request.id}") < 2:
        time.sleep(300)
    return "delivered again"


@app.task(base=Noted, name="shop.endless")
def endless() -> None:
    time.sleep(300)


@app.task(base=Noted, name="shop.eager")
def eager() -> Any:
    return add.apply((20, 20)).get(disable_sync_subtasks=False)


@app.task(base=Noted, name="shop.elsewhere", backend=RedisBackend(app=app, url=os.environ["SHOP_RESULTS"]))
def elsewhere() -> str:
    return "stored by a backend of its own"


@app.task(base=Noted, name="shop.stamped", bind=True)
def stamped(self: Task) -> Any:
    return self.request.stamps


@app.task(base=Noted, name="shop.limited", rate_limit="10/s")
def limited() -> str:
    return "in time"


@app.task(base=Noted, name="shop.process")
def process() -> int:
    return os.getpid()
