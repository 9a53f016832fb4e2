"""Somebody's Celery application: it knows nothing of Zenith. Its tasks write each of their runs into a list in its own Redis."""

from __future__ import annotations

import os
import time
from typing import Any

import redis
from celery import Celery, Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
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


class Noted(Task):
    """The application's own base class, which notes every run."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        store.rpush(RUNS, self.request.id)
        return super().__call__(*args, **kwargs)


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
    return [type(self).__mro__[1].__name__, self.name]


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
