"""Tasks that use what Celery offers beyond a plain call; for workers that tests start, and for the tests that build canvases."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import celery
from celery import chain, chord, group, shared_task
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celery.result import AsyncResult, allow_join_result


def note(log: str) -> int:
    """Note in a file that a body ran; return how often one did by now."""
    with Path(log).open("a") as file:
        file.write("ran\n")
    return Path(log).read_text().count("ran")


class PaymentError(Exception):
    """An error that pickle cannot bring back: it takes more than it keeps."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@shared_task(name="canvas.add")
def add(*numbers: float) -> float:
    return sum(numbers)


@shared_task(name="canvas.total")
def total(numbers: list[float]) -> float:
    return sum(numbers)


@shared_task(name="canvas.quiet_add", ignore_result=True)
def quiet_add(*numbers: float) -> float:
    return sum(numbers)


@shared_task(name="canvas.dies_before_its_part", bind=True)
def dies_before_its_part(self: Any, log: str, value: int) -> int:
    """Its process dies after its report and before it returns its part of a chord, the first time."""
    if note(log) == 1:
        self.backend.on_chord_part_return = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    return value


@shared_task(name="canvas.bad", max_retries=0)
def bad(*_: Any) -> None:
    raise ValueError("in the header")


@shared_task(name="canvas.flaky", retry_backoff_base=0.01)
def flaky(log: str, value: int) -> int:
    if note(log) == 1:
        raise ValueError("the first time")
    return value


@shared_task(name="canvas.fails_first", max_retries=0)
def fails_first(log: str, value: int) -> int:
    if note(log) == 1:
        raise ValueError("the first time")
    return value


@shared_task(name="canvas.write")
def write(result: Any, log: str) -> None:
    note(log)


@shared_task(name="canvas.errback")
def errback(task_id: str, log: str) -> None:
    with Path(log).open("a") as file:
        file.write(f"{task_id}\n")


@shared_task(name="canvas.chord_inside")
def chord_inside(count: int) -> str:
    return str(chord([add.s(number, 1) for number in range(count)], total.s()).delay().id)


@shared_task(name="canvas.read_parent", bind=True)
def read_parent(self: Any, result: Any) -> list[Any]:
    # A callback is sent before its parent's end is stored, here as on stock Celery.
    with allow_join_result():
        value = AsyncResult(self.request.parent_id).get(timeout=20)
    return [AsyncResult(self.request.parent_id).state, value]


@shared_task(name="canvas.quiet_failure", ignore_result=True, max_retries=0)
def quiet_failure(log: str) -> None:
    note(log)
    raise ValueError("boom")


@shared_task(name="canvas.quiet_flaky", ignore_result=True, retry_backoff_base=0.01)
def quiet_flaky(log: str) -> None:
    if note(log) == 1:
        raise ValueError("the first time")


@shared_task(name="canvas.quiet_hang", ignore_result=True, time_limit=1)
def quiet_hang() -> None:
    while True:
        with suppress(SoftTimeLimitExceeded):
            time.sleep(60)


@shared_task(name="canvas.ignore")
def ignore(log: str) -> None:
    note(log)
    raise Ignore("not for me")


@shared_task(name="canvas.tell_and_ignore", bind=True)
def tell_and_ignore(self: Any, state: str) -> None:
    self.update_state(state=state, meta={"exc_type": "ValueError", "exc_message": ["told"], "exc_module": "builtins"})
    raise Ignore


@shared_task(name="canvas.tell", bind=True)
def tell(self: Any, state: str) -> str:
    self.update_state(state=state, meta={"exc_type": "ValueError", "exc_message": ["told"], "exc_module": "builtins"})
    return "in the end"


@shared_task(name="canvas.with_meta", bind=True)
def with_meta(self: Any) -> None:
    self.request.meta = {"mine": [1]}


@shared_task(name="canvas.replace", bind=True)
def replace(self: Any, kind: str, *numbers: float) -> Any:
    signatures = {
        "task": lambda: add.s(*numbers),
        "group": lambda: group(add.s(number, number) for number in numbers),
        "chain": lambda: chain(add.s(*numbers), add.s(1)),
        "chord": lambda: chord([add.s(number) for number in numbers], total.s()),
        "itself": lambda: replace.s("task", *numbers),
        "failing chord": lambda: chord([add.s(*numbers), bad.s()], total.s()),
        "flaky": lambda: flaky.s(*numbers),
    }
    raise self.replace(signatures[kind]())


@shared_task(name="canvas.replace_with", bind=True)
def replace_with(self: Any, kind: str, numbers: list[float]) -> Any:
    raise self.replace(replace.s(kind, *numbers))


@shared_task(name="canvas.reject", bind=True)
def reject(self: Any, log: str, times: int) -> str:
    if note(log) <= times:
        raise Reject("not now", requeue=True)
    return "taken"


@shared_task(name="canvas.reject_for_good")
def reject_for_good() -> None:
    raise Reject("never", requeue=False)


@shared_task(name="canvas.ran")
def ran(*_: Any, **__: Any) -> str:
    return "ran"


class TheirTask(celery.Task):
    """A base class of an application's own, which knows nothing of Zenith."""


@shared_task(name="canvas.on_their_base", base=TheirTask, autoretry_for=(ValueError,), retry_backoff=False, default_retry_delay=0)
def on_their_base(log: str) -> int:
    if note(log) < 3:
        raise ValueError("not yet")
    return 3


@shared_task(name="canvas.tell_types")
def tell_types(*values: Any) -> list[str]:
    return [type(value).__name__ for value in values]


@shared_task(name="canvas.retry_once", bind=True)
def retry_once(self: Any, log: str) -> None:
    note(log)
    try:
        raise ValueError("again")
    except ValueError as error:
        raise self.retry(exc=error, countdown=0.05, max_retries=1) from error


@shared_task(name="canvas.retry_freely", bind=True)
def retry_freely(self: Any, log: str) -> None:
    note(log)
    raise self.retry(countdown=0.05)


@shared_task(name="canvas.retry_without_throw", bind=True)
def retry_without_throw(self: Any, log: str) -> str:
    if note(log) == 1:
        self.retry(countdown=0.05, throw=False)
        return "the first"
    return "the second"


@shared_task(name="canvas.retry_by_hand")
def retry_by_hand(log: str) -> None:
    note(log)
    raise Retry("by hand")


@shared_task(name="canvas.fail", max_retries=0)
def fail(kind: str) -> None:
    if kind == "own":
        raise PaymentError("declined", 7)
    if kind == "file":
        Path("/nonexistent/report.csv").read_text()
    if kind == "process":
        subprocess.run(["false"], check=True)
    if kind == "caused":
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise PaymentError("caused", 7) from cause


@shared_task(name="canvas.pay", acks_late=False)
def pay(log: str) -> None:
    note(log)
    Path(f"{log}.pid").write_text(str(os.getpid()))
    time.sleep(60)
