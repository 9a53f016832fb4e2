"""Tasks of the kind that people write, for workers that tests start (ZENITH_TASK_MODULES=tests.sample_tasks).

The test process itself never imports them: to it they are another program's tasks, called by name.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger

import zenith_worker


@shared_task(name="sample.echo")
def echo(*args: Any, **kwargs: Any) -> list[Any]:
    return [list(args), kwargs]


@shared_task(name="sample.ignored", ignore_result=True)
def ignored(value: int) -> int:
    return value


@shared_task(name="sample.unserialisable")
def unserialisable() -> object:
    return object()


@shared_task(name="sample.not_a_number")
def not_a_number() -> float:
    return float("nan")


@shared_task(name="sample.bulky")
def bulky(size: int) -> str:
    return "x" * size


@shared_task(name="sample.nul")
def nul() -> dict[str, str]:
    return {"text": "a\x00b"}


@shared_task(name="sample.shout", max_retries=0)
def shout(size: int) -> None:
    """Fail with a very long message."""
    raise ValueError("x" * size)


class OddError(Exception):
    """An error whose arguments are not JSON."""


@shared_task(name="sample.odd_error", max_retries=0)
def odd_error() -> None:
    raise OddError(float("nan"), object(), "a\x00b")


@shared_task(name="sample.sends_another")
def sends_another(value: int) -> str:
    return str(echo.delay(value).id)


@shared_task(name="sample.sends_another_at_last", bind=True, max_retries=1)
def sends_another_at_last(self: Task) -> str:
    """Fail the first time."""
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return str(echo.delay(1).id)


@shared_task(name="sample.dispatches_another")
def dispatches_another(deeper: int = 0) -> str:
    """Send a task through Zenith's own door, as code of the same project may; that one so many levels `deeper` does, too."""
    from tasks_app.dispatch.create import Dispatch, Origin, dispatch

    asked = (
        Dispatch(task="sample.dispatches_another", kwargs={"deeper": deeper - 1}) if deeper else Dispatch(task="sample.family")
    )
    return str(dispatch(asked, Origin(source="engine")).ids[0])


@shared_task(name="sample.family", bind=True)
def family(self: Task) -> tuple[str | None, str | None]:
    return self.request.parent_id, self.request.root_id


@shared_task(
    name="sample.autoretry", autoretry_for=(ZeroDivisionError,), retry_backoff=False, default_retry_delay=0, max_retries=2
)
def autoretry() -> None:
    """Retry by Celery's own rules."""
    raise ZeroDivisionError


@shared_task(name="sample.patient", bind=True, retry_backoff_base=1e7, retry_backoff_cap=1e7)
def patient(self: Task) -> int:
    """Fail the first time; its back-off is drawn from four months."""
    if self.request.retries == 0:
        raise ConnectionError("not yet")
    return int(self.request.retries)


@shared_task(name="sample.retries_itself", bind=True, max_retries=2)
def retries_itself(self: Task) -> str:
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return "third time"


@shared_task(name="sample.ignores")
def ignores() -> None:
    raise Ignore


@shared_task(name="sample.rejects")
def rejects() -> None:
    raise Reject("not for me", requeue=False)


@shared_task(name="sample.progress", bind=True)
def progress(self: Task) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1})
    return "done"


@shared_task(name="sample.steps", time_limit=60)
def steps(count: int, marker: str) -> int:
    """Handle items, and wait for a file before the last one."""
    done = 0
    for done in zenith_worker.progress(range(1, count + 1)):
        while done == count and not Path(marker).exists():
            time.sleep(0.01)
    return done


@shared_task(name="sample.uses")
def uses(seconds: float, megabytes: int) -> int:
    """Use CPU time and memory."""
    block = bytearray(megabytes * 2**20)
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return len(block)


@shared_task(name="sample.hangs", soft_time_limit=0.5, time_limit=1, max_retries=0)
def hangs() -> None:
    """Outlive the hard time limit."""
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        time.sleep(60)


@shared_task(name="sample.dies_once")
def dies_once(marker: str) -> str:
    """Kill the process at the first run; the marker is a file that remembers it."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second life"


@shared_task(name="sample.meet", time_limit=60)
def meet(marker: str) -> str:
    """Run until a file appears."""
    while not Path(marker).exists():
        time.sleep(0.01)
    return "met"


@shared_task(name="sample.tells")
def tells(number: int, password: str = "") -> None:
    """Log and print."""
    logging.getLogger("shop.orders").info("order %s with password=%s", number, password)
    get_task_logger(__name__).warning("of Celery's logger")
    logging.getLogger("shop").debug("too much")
    print("printed")  # noqa: T201
    try:
        raise KeyError(number)
    except KeyError:
        logging.exception("it failed")


@shared_task(name="sample.keeps_quiet", zenith_logs=False)
def keeps_quiet() -> None:
    """Log what nobody is to read."""
    logging.getLogger("shop").warning("confidential")


@shared_task(name="sample.touch")
def touch(marker: str) -> None:
    """Leave a file behind, so that a test sees whether the body ran."""
    Path(marker).touch()
