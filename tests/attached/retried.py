"""Tasks of somebody's application without rules for retries of their own, or with some, under the guard `retries`; and a program
that runs them and prints, as JSON, how often each ran and how it ended."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from celery import Celery, Task, chain, chord
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded, TimeoutError
from kombu.exceptions import OperationalError
from shop import app, store

from zenith_worker.autoretry import add_retries

#: Back-offs that keep no test waiting.
SOON = {"retry_backoff_base": 0.01, "retry_backoff_cap": 0.02}


class Counted(Task):
    """The application's own base class, which counts the calls of each task by its message."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        store.incr(f"retried:calls:{self.request.id}")
        return super().__call__(*args, **kwargs)


class Unsent(Counted):
    """A base class whose messages of a second attempt find no broker, twice."""

    abstract = True

    def apply_async(self, *args: Any, **options: Any) -> Any:
        if options.get("retries") and store.incr(f"retried:away:{options['task_id']}") < 3:
            raise OperationalError("the broker is away")
        return super().apply_async(*args, **options)


class OwnCallError(Exception):
    """What a task's own `__call__` raises."""


class CallFails(Counted):
    """A base class whose `__call__` raises before the body."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        store.incr(f"retried:calls:{self.request.id}")
        raise OwnCallError


def task(**options: Any) -> Callable[[Callable[..., Any]], Task]:
    def decorate(body: Callable[..., Any]) -> Task:
        return app.task(**{"base": Counted, "bind": True, "name": f"retried.{body.__name__}", **SOON, **options})(body)

    return decorate


def fail(running: Task, times: int) -> None:
    """Fail in this many attempts."""
    if running.request.retries < times:
        raise ValueError(f"attempt {running.request.retries}")


@task()
def flaky(self: Task, times: int = 2, answer: Any = "done") -> Any:
    fail(self, times)
    return answer


@task(max_retries=1)
def once_more(self: Task) -> None:
    raise ValueError("never")


@task(max_retries=None)
def endless(self: Task) -> str:
    fail(self, 6)
    return "done"


@task(ignore_result=True)
def quiet(self: Task) -> None:
    fail(self, 2)


@task(throws=(KeyError,), no_retry_for=(IndexError,))
def picky(self: Task, kind: str) -> None:
    raise {"throws": KeyError, "no_retry_for": IndexError, "ignore": Ignore, "reject": Reject}[kind](kind)


@task(autoretry_for=(ValueError,), max_retries=2, default_retry_delay=0.01)
def own_rules(self: Task) -> None:
    raise KeyError("not among them") if self.request.retries else ValueError("once")


@task()
def itself(self: Task, most: int | None = None) -> None:
    raise self.retry(exc=ValueError("again"), countdown=0.01, max_retries=most)


@task(base=Unsent)
def unsent(self: Task) -> str:
    fail(self, 1)
    return "done"


@task(base=CallFails)
def call_fails(self: Task) -> None:
    pass


@task(soft_time_limit=1, acks_late=True)
def limited(self: Task) -> str:
    if self.request.retries:
        return "in time"
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        raise
    return "never"


@task()
def total(self: Task, numbers: list[int]) -> int:
    return sum(numbers)


@task()
def headers(self: Task) -> Any:
    fail(self, 1)
    return self.request.headers


@task(base=Task)
def plain(self: Task) -> str:
    """Without a `__call__` of its own, which makes older versions of Celery run it as a function if it runs eagerly."""
    fail(self, 2)
    return "done"


def guard(celery: Celery) -> None:
    """Ask for the guard, twice: the second time must do nothing."""
    for each in (*celery.tasks.values(), *celery.tasks.values()):
        add_retries(each)


guard(app)


def main() -> None:
    sent = {
        "flaky": flaky.delay(),
        "once more": once_more.delay(),
        "endless": endless.delay(),
        "throws": picky.delay("throws"),
        "no_retry_for": picky.delay("no_retry_for"),
        "own rules": own_rules.delay(),
        "itself": itself.delay(),
        "itself, one": itself.delay(1),
        "unsent": unsent.delay(),
        "call fails": call_fails.delay(),
        "limited": limited.delay(),
        "headers": headers.apply_async(headers={"mine": 1}),
        "none requested": flaky.apply_async(headers={"zenith_max_retries": 0}),
        "four requested": flaky.apply_async((5,), headers={"zenith_max_retries": 4}),
        "one requested of itself": itself.apply_async(headers={"zenith_max_retries": 1}),
        "one requested, own rules": own_rules.apply_async(headers={"zenith_max_retries": 0}),
        "odd request": flaky.apply_async(headers={"zenith_max_retries": "many"}),
        "chain": chain(flaky.s(1, [1, 2]), total.s())(),
        "chord": chord([flaky.s(1, 20), flaky.s(0, 22)], total.s())(),
    }
    unseen = {"quiet": quiet.delay(), "ignore": picky.delay("ignore"), "reject": picky.delay("reject")}
    ended = {}
    for name, answer in sent.items():
        try:
            outcome = answer.get(timeout=30, propagate=False)
        except TimeoutError:
            outcome = "no end"
        ended[name] = [calls(answer.id), outcome if not isinstance(outcome, Exception) else type(outcome).__name__]
    for name, answer in unseen.items():
        wanted = 3 if name == "quiet" else 1
        until = time.monotonic() + 30
        while calls(answer.id) < wanted and time.monotonic() < until:
            time.sleep(0.05)
        ended[name] = [calls(answer.id), None]
    try:
        plain()
    except ValueError:
        ended["called"] = ["it raised", None]
    ended["eager"] = [plain.apply().get(), None]
    ended["left behind"] = [[each.name for each in app.tasks.values() if "override_max_retries" in vars(each)], None]
    json.dump(ended, sys.stdout)


def calls(id_: str) -> int:
    return int(store.get(f"retried:calls:{id_}") or 0)


if __name__ == "__main__":
    main()
