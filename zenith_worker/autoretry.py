"""Retries with exponential back-off of tasks that have no rules of their own: Zenith's own tasks, and those of an application
with the guard `retries`.

As for Celery's `autoretry_for`, a task's `run` is wrapped: a custom `__call__` sees the `Retry`, and what it raises itself is not
retried. A task with `autoretry_for` keeps its own rules.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Final, NoReturn

from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from zenith_worker.carried import carried, due_at
from zenith_worker.reporting import retry_while
from zenith_worker.retry import BASE_SECONDS, CAP_SECONDS, GiveUp, RunAgain, decide
from zenith_worker.wire.headers import MAX_RETRIES_HEADER

#: A number for "no limit", which is None in Celery.
_ENDLESS: Final = 2**31
#: Marks a task that has retries, among its attributes.
_ADDED: Final = "_zenith_retries"
#: What Celery's `retry` leaves behind on a task, and its `autoretry_for` takes for that task's number from then on.
_LEFT_BEHIND: Final = "override_max_retries"
#: The place of `max_retries` among the arguments of Celery's `retry`.
_MAX_RETRIES_AT: Final = 6


class BrokerAwayError(Exception):
    """The next attempt could not be sent, because the broker cannot be reached."""


class NextAttempt:
    """Sends the next attempt of a task to its broker, as a message with an ETA. For native tasks, see task.py."""

    def send(self, task: Any, error: Exception, decision: RunAgain) -> NoReturn:
        """Send the next attempt and raise Retry, or `error` if the task cannot be sent with its arguments.

        Celery drops a task whose next message cannot be sent. Here it is sent once the broker is back; until then the worker
        keeps this attempt.
        """
        retry_while(BrokerAwayError, partial(self._send_once, task, error, decision.delay), server="The broker")
        raise AssertionError("retry() raises")

    def headers(self, request: Any, delay: float) -> dict[str, Any] | None:
        """Return the custom headers of the message, or None for those of this attempt's."""
        return None

    def is_away(self, task: Any, reason: Exception) -> bool:
        """Whether a message was not sent only because the broker cannot be reached."""
        # It connects signals, which native workers do without.
        from zenith_worker import sending

        return sending.is_broker_away(task.app, reason)

    def not_sent(self, request: Any, error: Exception, delay: float) -> None:
        """Raise Retry if the next attempt is kept elsewhere than at the broker."""

    def _send_once(self, task: Any, error: Exception, delay: float) -> None:
        headers = self.headers(task.request, delay)
        options = {} if headers is None else {"headers": headers}
        try:
            _without_trace(task, lambda: task.retry(exc=error, countdown=delay, max_retries=_ENDLESS, **options))
        except Reject as failed:
            reason = failed.reason
            if isinstance(reason, SoftTimeLimitExceeded):
                raise reason from None
            self.not_sent(task.request, error, delay)
            if self.is_away(task, reason):
                raise BrokerAwayError(f"the next attempt could not be sent: {reason}") from failed
            raise error from None


def add_retries(task: Any) -> None:
    """Give a task of an attached application retries; a second call does nothing, and Celery's own tasks stay as they are.

    Must be called before Celery builds the task's tracer, which keeps the task's `run`.
    """
    if getattr(task, _ADDED, False) or task.name.startswith("celery."):
        return
    setattr(task, _ADDED, True)
    task.retry = with_requested_retries(task, task.retry)
    task.run = with_retries(task, task.run, NextAttempt())


def with_retries(task: Any, body: Callable[..., Any], next_attempt: NextAttempt) -> Callable[..., Any]:
    """Return a task's body such that another attempt follows if it raises, as retry.decide says.

    Read from the task: `max_retries`, `throws`, and as far as it has them `no_retry_for` (exceptions that another attempt would
    not fix), `retry_backoff_base` and `retry_backoff_cap` (seconds).
    """
    if getattr(task, "autoretry_for", ()):
        return body

    @wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return body(*args, **kwargs)
        except (Ignore, Reject, Retry):
            raise
        except Exception as error:
            delivery = carried(task.request)
            if task.request.called_directly or delivery.gave_up or delivery.next_sent:
                raise
            decision = _decide(task, error)
            if isinstance(decision, GiveUp):
                raise
            delivery.retry_at = time.time() + decision.delay
            next_attempt.send(task, error, decision)

    return run


def with_requested_retries(task: Any, retry: Callable[..., Any]) -> Callable[..., Any]:
    """Return a task's `retry` such that it counts the retries that the dispatch requested, and notes what came of it.

    A number that is passed to `retry` itself counts for more.
    """

    @wraps(retry)
    def noted(*args: Any, **options: Any) -> Any:
        delivery, requested = carried(task.request), _requested(task.request)
        send = partial(retry, *args, **options)
        if requested is not None and len(args) <= _MAX_RETRIES_AT and options.get("max_retries") is None:
            send = partial(_without_trace, task, partial(retry, *args, **{**options, "max_retries": requested}))
        try:
            answer = send()
        except Retry as again:
            delivery.next_sent, delivery.retry_at = True, due_at(again.when)
            raise
        except (Ignore, Reject):
            raise
        except Exception:
            delivery.gave_up = True
            raise
        delivery.next_sent, delivery.retry_at = True, due_at(getattr(answer, "when", None))
        return answer

    return noted


def _decide(task: Any, error: Exception) -> RunAgain | GiveUp:
    requested = _requested(task.request)
    allowed = task.max_retries if requested is None else requested
    is_final = isinstance(error, (getattr(task, "no_retry_for", ()), getattr(task, "throws", ())))
    return decide(
        retries=task.request.retries,
        max_retries=_ENDLESS if allowed is None else int(allowed),
        worth_retrying=not is_final,
        jitter=random.random(),  # noqa: S311 -- spreads load, guards nothing
        base=getattr(task, "retry_backoff_base", BASE_SECONDS),
        cap=getattr(task, "retry_backoff_cap", CAP_SECONDS),
    )


def _requested(request: Any) -> int | None:
    """Return how many retries the dispatch of a task requested, if it did."""
    requested = getattr(request, MAX_RETRIES_HEADER, None)
    return requested if type(requested) is int and requested >= 0 else None


def _without_trace(task: Any, retry: Callable[[], Any]) -> Any:
    """Call `retry` with a number that is not the task's own, and let the task forget that number."""
    had = _LEFT_BEHIND in vars(task)
    try:
        return retry()
    finally:
        if not had:
            vars(task).pop(_LEFT_BEHIND, None)
