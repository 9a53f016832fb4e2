"""The class of every task: what happens around its body."""

import random
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, Final

from celery import Task
from celery.exceptions import Ignore, Reject, Retry

from tasks_app.errors import PoisonTaskError
from tasks_app.retry import GiveUp, decide

#: Header with the number of retries that a dispatch asked for.
MAX_RETRIES_HEADER: Final = "zenith_max_retries"
#: How often a message may be delivered again after its worker process died on it.
MAX_REDELIVERIES: Final = 3
#: Stands for "for ever", which Celery writes as None.
_ENDLESS: Final = 2**31


class ZenithTask(Task):
    """Celery's task with retries by default and a limit on how often it may kill its worker.

    Attributes:
        max_retries: retries after the first attempt, unless the dispatch says otherwise.
        no_retry_for: exceptions that another attempt would not mend.
        drill: whether this task only exists to try out failures.
    """

    max_retries = 3
    no_retry_for: ClassVar[tuple[type[BaseException], ...]] = ()
    drill = False

    def __init__(self) -> None:
        # A task that brings Celery's own `autoretry_for` keeps its own rules.
        if not getattr(self, "autoretry_for", ()):
            self.run: Callable[..., Any] = _with_retries(self, self.run)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Refuse a task that killed its worker process again and again. Raises PoisonTaskError."""
        deliveries = getattr(self.request, "zenith_delivery", 0)
        if deliveries >= MAX_REDELIVERIES:
            raise PoisonTaskError(f"its worker process died {deliveries} times while running it")

    @property
    def allowed_retries(self) -> int:
        """How many retries the running request may use."""
        asked = getattr(self.request, MAX_RETRIES_HEADER, None)
        allowed = self.max_retries if asked is None else asked
        return _ENDLESS if allowed is None else int(allowed)


def _with_retries(task: ZenithTask, body: Callable[..., Any]) -> Callable[..., Any]:
    """Return the body such that what it raises is decided upon by retry.decide."""

    @wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return body(*args, **kwargs)
        except (Ignore, Reject, Retry):
            raise
        except Exception as error:
            if task.request.called_directly:
                raise
            decision = decide(
                retries=task.request.retries,
                max_retries=task.allowed_retries,
                worth_retrying=not isinstance(error, task.no_retry_for),
                jitter=random.random(),  # noqa: S311 -- spreads load, guards nothing
            )
            if isinstance(decision, GiveUp):
                raise
            task.request.zenith_retry_at = time.time() + decision.delay
            raise task.retry(exc=error, countdown=decision.delay, max_retries=_ENDLESS) from error

    return run
