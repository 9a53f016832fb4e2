"""The base class of every task: the steps before and after its body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import redis
from celery import Task
from celery.exceptions import Ignore, Retry
from kombu.exceptions import OperationalError

from zenith_worker.autoretry import NextAttempt, with_requested_retries, with_retries
from zenith_worker.carried import carried
from zenith_worker.errors import DrillsOffError, Replaced
from zenith_worker.guarded_tasks import ClaimedTask
from zenith_worker.retry import BASE_SECONDS, CAP_SECONDS, RunAgain
from zenith_worker.wire.headers import BACKOFF_HEADER, DISPATCHED_HEADER
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.time_limits import soft_limit


class ZenithTask(ClaimedTask, Task):
    """Celery's task with retries by default and a limit on how often it may kill its worker.

    Attributes:
        max_retries: retries after the first attempt, unless the dispatch says otherwise.
        no_retry_for: exceptions that another attempt would not fix.
        retry_backoff_base: longest back-off in seconds before the first retry; it doubles with each further one.
        retry_backoff_cap: longest back-off in seconds before any retry.
        max_deliveries: how often one message may be delivered without its body ending, before the task fails for good;
            None for the setting of that name.
        zenith_logs: whether what its body logs is kept (task_logs.py).
        drill: whether this task exists only to try out failures; its body does not run if `zenith_drills` is off.
    """

    Request = "zenith_worker.crashes:CrashNotingRequest"
    max_retries = 3
    no_retry_for: ClassVar[tuple[type[BaseException], ...]] = ()
    retry_backoff_base = BASE_SECONDS
    retry_backoff_cap = CAP_SECONDS
    drill = False
    max_deliveries: int | None = None
    zenith_logs = True

    def __init__(self) -> None:
        if self.time_limit:
            self.soft_time_limit: float | None = soft_limit(
                self.time_limit, self.soft_time_limit, self.app.conf.task_soft_time_limit
            )
        self.retry: Callable[..., Any] = with_requested_retries(self, self.retry)
        self.run: Callable[..., Any] = with_retries(self, self.run, _NextAttempt())

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

    def replace(self, sig: Any) -> Any:
        """Send a signature in this task's place, as Celery does. Raises errors.Replaced, which ends this body."""
        try:
            return super().replace(sig)
        except Ignore:
            raise Replaced(f"replaced by {sig.name or sig.task}") from None


class _NextAttempt(NextAttempt):
    """Sends the next attempt, or holds it in PostgreSQL: there it survives the worker, and the relay sends it when it is due."""

    def send(self, task: Any, error: Exception, decision: RunAgain) -> NoReturn:
        """Send the next attempt, or hold it, and raise Retry; or raise `error`."""
        if decision.is_long:
            self.not_sent(task.request, error, decision.delay)
        super().send(task, error, decision)

    def headers(self, request: Any, delay: float) -> dict[str, Any]:
        """Return the task's custom headers with the back-off, which bounds what another machine's clock makes of the ETA."""
        return {**(request.headers or {}), BACKOFF_HEADER: [request.retries + 1, delay]}

    def is_away(self, task: Any, reason: Exception) -> bool:
        """Whether a message was not sent because Zenith's Redis, which is the broker, is unreachable or full."""
        return isinstance(reason, (OperationalError, redis.RedisError))

    def not_sent(self, request: Any, error: Exception, delay: float) -> None:
        """Hold the next attempt if it can be: once this is recorded, the relay sends it when it is due."""
        if _row_says_all(request):
            carried(request).held = True
            raise Retry(exc=error, when=delay) from error


def _row_says_all(request: Any) -> bool:
    """Whether the task's next message can be built from its row in PostgreSQL.

    That is not so for a task that other code sent, or that is part of a chain, group or chord.
    """
    parts = (request.callbacks, request.errbacks, request.chain, request.chord, request.group)
    return bool(getattr(request, DISPATCHED_HEADER, None)) and not any(parts)
