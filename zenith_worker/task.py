"""The base class of every task: the steps before and after its body."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ClassVar, Final, NoReturn

import redis
from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from kombu.exceptions import OperationalError

from zenith_worker.carried import carried, due_at
from zenith_worker.errors import DrillsOffError, Replaced
from zenith_worker.guarded_tasks import ClaimedTask
from zenith_worker.reporting import with_redis_retries
from zenith_worker.retry import BASE_SECONDS, CAP_SECONDS, GiveUp, decide
from zenith_worker.wire.headers import BACKOFF_HEADER, DISPATCHED_HEADER, MAX_RETRIES_HEADER
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.time_limits import soft_limit

#: A number for "no limit", which is None in Celery.
_ENDLESS: Final = 2**31


class ZenithTask(ClaimedTask, Task):
    """Celery's task with retries by default and a limit on how often it may kill its worker.

    Attributes:
        max_retries: retries after the first attempt, unless the dispatch says otherwise.
        no_retry_for: exceptions that another attempt would not fix.
        retry_backoff_base: longest back-off in seconds before the first retry; it doubles with each further one.
        retry_backoff_cap: longest back-off in seconds before any retry.
        max_deliveries: how often one message may be delivered without its body ending, before the task fails for good;
            None for the setting of that name.
        drill: whether this task exists only to try out failures; its body does not run if `zenith_drills` is off.
    """

    Request = "zenith_worker.crashes:CrashNotingRequest"
    max_retries = 3
    no_retry_for: ClassVar[tuple[type[BaseException], ...]] = ()
    retry_backoff_base = BASE_SECONDS
    retry_backoff_cap = CAP_SECONDS
    drill = False
    max_deliveries: int | None = None

    def __init__(self) -> None:
        if self.time_limit:
            self.soft_time_limit: float | None = soft_limit(
                self.time_limit, self.soft_time_limit, self.app.conf.task_soft_time_limit
            )
        # A task with Celery's own `autoretry_for` keeps its own rules.
        if not getattr(self, "autoretry_for", ()):
            self.run: Callable[..., Any] = _with_retries(self, self.run)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Let this delivery run only if it should; admission.py describes what is raised."""
        carried(self.request).is_zenith_task = True
        super().before_start(task_id, args, kwargs)
        if self.drill and not getattr(self.app.conf, "zenith_drills", True):
            raise DrillsOffError(
                f"{self.name} is a drill, and drills are off on this worker. Set ZENITH_DRILLS=true to turn them on"
            )

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: str | None = None, *rest: Any, **options: Any) -> Any:
        """Send the task as Celery does, with a time-ordered id: lists go by id, newest first."""
        return super().apply_async(args, kwargs, task_id or str(new_id()), *rest, **options)

    def retry(
        self, args: Any = None, kwargs: Any = None, exc: BaseException | None = None, throw: bool = True, eta: Any = None,
        countdown: float | None = None, max_retries: int | None = None, **options: Any,
    ) -> Any:  # fmt: skip
        """Send the next attempt as Celery does, and record that it was sent, or that there are no more."""
        delivery = carried(self.request)
        if max_retries is None:
            max_retries = getattr(self.request, MAX_RETRIES_HEADER, None)
        try:
            answer = super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        except Retry as retry:
            delivery.next_sent, delivery.retry_at = True, due_at(retry.when)
            raise
        except (Ignore, Reject):
            raise
        except Exception:
            delivery.gave_up = True
            raise
        delivery.next_sent, delivery.retry_at = True, due_at(getattr(answer, "when", None))
        return answer

    def replace(self, sig: Any) -> Any:
        """Send a signature in this task's place, as Celery does. Raises errors.Replaced, which ends this body."""
        try:
            return super().replace(sig)
        except Ignore:
            raise Replaced(f"replaced by {sig.name or sig.task}") from None

    @property
    def allowed_retries(self) -> int:
        """How many retries the running request may use."""
        requested = getattr(self.request, MAX_RETRIES_HEADER, None)
        allowed = self.max_retries if requested is None else requested
        return _ENDLESS if allowed is None else int(allowed)


def _with_retries(task: ZenithTask, body: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a body, so that retry.decide decides what follows an exception."""

    @wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return body(*args, **kwargs)
        except (Ignore, Reject, Retry):
            raise
        except Exception as error:
            if task.request.called_directly or carried(task.request).gave_up:
                raise
            decision = decide(
                retries=task.request.retries,
                max_retries=task.allowed_retries,
                worth_retrying=not isinstance(error, task.no_retry_for),
                jitter=random.random(),  # noqa: S311 -- spreads load, guards nothing
                base=task.retry_backoff_base,
                cap=task.retry_backoff_cap,
            )
            if isinstance(decision, GiveUp):
                raise
            carried(task.request).retry_at = time.time() + decision.delay
            if decision.is_long and _row_says_all(task.request):
                # Not sent here: once this is recorded, the relay sends the next attempt when it is due.
                carried(task.request).held = True
                raise Retry(exc=error, when=decision.delay) from error
            with_redis_retries(partial(_retry, task, error, decision.delay))

    return run


def _retry(task: ZenithTask, error: Exception, delay: float) -> NoReturn:
    """Send the message of the next attempt and raise Retry.

    Celery drops a task whose next message cannot be sent. Here the relay sends it, if it can. Otherwise this raises
    redis.ConnectionError while the broker is unreachable, and `error` if this worker's version of the task does not accept the
    arguments.
    """
    request = task.request
    headers = {**(request.headers or {}), BACKOFF_HEADER: [request.retries + 1, delay]}
    try:
        task.retry(exc=error, countdown=delay, max_retries=_ENDLESS, headers=headers)
    except Reject as failed:
        if _row_says_all(request):
            carried(request).held = True
            raise Retry(exc=error, when=delay) from error
        if isinstance(failed.reason, (OperationalError, redis.RedisError)):
            raise redis.ConnectionError(f"the next attempt could not be sent: {failed.reason}") from failed
        raise error from None
    raise AssertionError("retry() raises")


def _row_says_all(request: Any) -> bool:
    """Whether the task's next message can be built from its row in PostgreSQL.

    That is not so for a task that other code sent, or that is part of a chain, group or chord.
    """
    parts = (request.callbacks, request.errbacks, request.chain, request.chord, request.group)
    return bool(getattr(request, DISPATCHED_HEADER, None)) and not any(parts)
