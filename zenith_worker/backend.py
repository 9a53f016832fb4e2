"""The result backend of Zenith's own application: Celery's Redis backend, which also accounts for every outcome.

Celery calls a result backend for almost every outcome: in the pool's child processes and, for lost processes and hard time
limits, in the worker's main process. One script (claims.finish) reports the outcome, stores its result, wakes its waiters and
releases its claim, *before* Celery acknowledges the message. So a task whose outcome got lost is always delivered again, and an
outcome that is fenced off stores nothing, calls no errback and returns no part of a chord.

Results and the counters of chords are Celery's own, in Redis, until `result_expires`. The lasting result is PostgreSQL's
`TaskResult`, which a recorder writes. Tasks that Zenith dispatched keep no result in Redis, because nobody waits for it there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final

import redis
from celery import states
from celery.backends.redis import RedisBackend
from celery.exceptions import TaskRevokedError
from kombu.utils.encoding import bytes_to_str

from zenith_worker import canvas, progress_reports
from zenith_worker.carried import Carried, carried, token_of
from zenith_worker.outcomes import OUTCOMES, Outcome, not_run
from zenith_worker.reporting import report, with_redis_retries
from zenith_worker.reporting_backend import ReportingMixin, unsent
from zenith_worker.reports import OWN_REPORTS
from zenith_worker.wire import claims
from zenith_worker.wire.claims import Stored, Verdict
from zenith_worker.wire.events import Event
from zenith_worker.wire.headers import COPIES_HEADER, DISPATCHED_HEADER
from zenith_worker.wire.states import Status

#: The task whose result is already stored, while Celery takes the other steps of its end.
_stored: Final[ContextVar[str]] = ContextVar("stored", default="")
#: Whether Celery is failing the later tasks of a chain.
_in_chain: Final[ContextVar[bool]] = ContextVar("in_chain", default=False)


class ZenithBackend(ReportingMixin, RedisBackend):
    """Celery's Redis backend, which reports every outcome.

    Attributes:
        largest_result: the maximum size of a result, in characters of JSON.
    """

    largest_result = 2**20
    reports = OWN_REPORTS

    def sends_chord_body(self, group_id: str) -> bool:
        """Return whether a worker holds the lease for sending a chord's body. Raises redis.RedisError."""
        lease = self.client.get(self.get_key_for_group(group_id, ".c"))
        return lease is not None and lease not in (b"done", "done")

    def mark_as_revoked(self, task_id: str, reason: str = "", request: Any = None, *rest: Any, **options: Any) -> Any:
        """Report a task that its worker refused or killed, and fail its part of a chord.

        Without a request, every worker was asked to revoke the task; one that runs or ended elsewhere is not revoked.
        """
        if request is not None:
            return super().mark_as_revoked(task_id, reason, request, *rest, **options)
        if with_redis_retries(lambda: claims.cancel(task_id)) != Verdict.CANCELLED:
            return None
        with self._reported(self._outcome(task_id, states.REVOKED, TaskRevokedError(reason), None), keeps=True) as counts:
            return RedisBackend.mark_as_revoked(self, task_id, reason, None, *rest, **options) if counts else None

    def mark_as_retry(
        self, task_id: str, exc: BaseException | None, traceback: str | None = None, request: Any = None,
        store_result: bool = True, state: str = states.RETRY,
    ) -> Any:  # fmt: skip
        """Report a failed attempt that another one follows."""
        with self._reported(self._outcome(task_id, state, exc, request, traceback), keeps=store_result):
            return exc

    def mark_as_ignored(self, task_id: str, reason: str, request: Any) -> None:
        """Report a body that raised `Ignore`. Celery stores nothing for it, except what the body itself stored."""
        state, meta = carried(request).body_state or ("", None)
        if state in OUTCOMES:
            event = Outcome(task_id=task_id, state=state, value=meta, request=request).event(self.largest_result, message=reason)
        else:
            event = self._bare(task_id, Status.IGNORED, reason, request)
        report(event, token=token_of(request), long=_may_come_twice(request))

    def mark_as_replaced(self, task_id: str, reason: str, request: Any) -> None:
        """Report a body that sent other tasks in its place (`Task.replace`): one of them has this id and brings the outcome."""
        report(self._bare(task_id, Status.REPLACED, reason, request), token=token_of(request))

    def _fail_chain(self, *args: Any, **options: Any) -> None:
        before = _in_chain.set(True)
        try:
            super()._fail_chain(*args, **options)
        finally:
            _in_chain.reset(before)

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **options: Any
    ) -> Any:
        if _stored.get() == task_id:
            return result
        if _in_chain.get():
            return self._skip(task_id, result, state, traceback, request)
        if state == states.STARTED:
            return self._store_started(task_id, result, request)
        if request is not None and getattr(request, "id", None) == task_id:
            carried(request).body_state = (state, result)
        return super()._store_result(task_id, result, state, traceback=traceback, request=request, **options)

    def _store_started(self, task_id: str, result: Any, request: Any) -> Any:
        """Store that a task runs, for callers that ask for its state; an unreachable or full Redis must not fail the task."""
        if not _nobody_waits(request):
            with suppress(redis.RedisError):
                claims.store(self._stored(Outcome(task_id=task_id, state=states.STARTED, value=result), request))
        return result

    def _skip(self, task_id: str, result: Any, state: str, traceback: str | None, request: Any) -> Any:
        """Report a later task of a chain, which will not run; for its waiters, it failed like the task before it."""
        task_origin = canvas.origins(self.app, vars(request)).get(task_id)
        if task_origin is None:
            return super()._store_result(task_id, result, state, traceback=traceback, request=request)
        outcome = Outcome(task_id=task_id, state=state, value=result, traceback=traceback)
        event = not_run(outcome, self.largest_result, task_origin)
        report(event, token="", stored=self._stored(outcome, request))
        return result

    @contextmanager
    def _reported(self, outcome: Outcome, *, keeps: bool) -> Iterator[bool]:
        """Report an outcome; yield whether it counts, and keep Celery's own steps in the block from storing the result again."""
        request = outcome.request
        progress_reports.end(request)
        if outcome.state == states.SUCCESS and not (keeps or _is_part(request)):
            outcome = outcome.with_value(None)
        event = outcome.event(self.largest_result, **unsent(outcome.task_id))
        _apply_retries(event, carried(request))
        stored = self._stored(outcome, request) if _is_part(request) or (keeps and not self._skips_redis(request)) else None
        counts = report(event, token=token_of(request), stored=stored, long=_may_come_twice(request))
        before = _stored.set(outcome.task_id)
        try:
            with canvas.ending(request):
                yield counts
        finally:
            _stored.reset(before)

    def _skips_redis(self, request: Any) -> bool:
        # A state that the body stored with `update_state` must not outlive the outcome.
        return _nobody_waits(request) and carried(request).body_state is None

    def _outcome(self, task_id: str, state: str, value: Any, request: Any, traceback: str | None = None) -> Outcome:
        return Outcome(
            task_id=task_id, state=state, value=self.encode_result(value, state), traceback=traceback, request=request,
            error=value if isinstance(value, BaseException) else None, children=self.current_task_children(request),
        )  # fmt: skip

    def _stored(self, outcome: Outcome, request: Any) -> Stored:
        """Return an outcome as Celery's Redis backend stores it."""
        meta = self._get_result_meta(result=outcome.value, state=outcome.state, traceback=outcome.traceback, request=request)
        meta["task_id"] = bytes_to_str(outcome.task_id)
        expires = self.failure_expires if outcome.state == states.FAILURE else self.expires
        return Stored(self.get_key_for_task(outcome.task_id), self.encode(meta), expires)

    def _bare(self, task_id: str, status: Status, reason: str, request: Any) -> Event:
        event = Outcome(task_id=task_id, state=states.SUCCESS, value=None, request=request).event(self.largest_result)
        event.status, event.message, event.result = status, reason, None
        return event


def _apply_retries(event: Event, delivery: Carried) -> None:
    """Correct an outcome by whether another attempt follows: a body may send one and go on, or raise `Retry` and send none."""
    follows = delivery.next_sent or delivery.held
    if event.status == Status.RETRY and delivery.is_zenith_task and not follows:
        event.status, event.error_type = Status.FAILURE, event.error_type or "Retry"
        event.error_message = event.error_message or "raised by hand: no next attempt was sent"
    elif follows and event.status in (Status.SUCCESS, Status.FAILURE):
        event.status, event.result = Status.RETRY, None
        event.message = event.message or "its body sent the next attempt and then continued to its end"


def _is_part(request: Any) -> bool:
    """Whether a task is part of a chord's header: its result is kept, in case it must be returned again."""
    return bool(request is not None and request.chord)


def _nobody_waits(request: Any) -> bool:
    """Whether Zenith dispatched this task, so that its result is read from PostgreSQL."""
    return bool(getattr(request, DISPATCHED_HEADER, None))


def _may_come_twice(request: Any) -> bool:
    """Whether the end of another task may have sent this task's message more than once."""
    return bool(getattr(request, COPIES_HEADER, None))
